package esdbtest

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/google/uuid"
)

// adminHandler serves the part of the HTTP API that Lethe's operators use.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	operators := func(h http.HandlerFunc) http.HandlerFunc { return s.restricted(h, groupAdmins, groupOperators) }
	admins := func(h http.HandlerFunc) http.HandlerFunc { return s.restricted(h, groupAdmins) }
	mux.HandleFunc("GET /info", s.getInfo)
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /admin/scavenge", operators(s.postScavenge))
	if !s.cluster.options.NoLastScavenge {
		mux.HandleFunc("GET /admin/scavenge/last", operators(s.getLastScavenge))
	}
	mux.HandleFunc("GET /admin/scavenge/current", operators(s.getCurrentScavenge))
	mux.HandleFunc("DELETE /admin/scavenge/{id}", operators(s.deleteScavenge))
	mux.HandleFunc("POST /users", admins(s.postUser))
	mux.HandleFunc("POST /users/{$}", admins(s.postUser))
	mux.HandleFunc("GET /users/{name}", admins(s.getUser))
	mux.HandleFunc("PUT /users/{name}", admins(s.putUser))
	mux.HandleFunc("POST /users/{name}/command/reset-password", admins(s.resetPassword))
	return mux
}

// restricted lets only members of a group through, where there are accounts.
func (s *Server) restricted(h http.HandlerFunc, groups ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.cluster.users.secured {
			h(w, r)
			return
		}
		name, password, _ := r.BasicAuth()
		a, known := s.cluster.users.login(name, password)
		if !known || !slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(a.Groups, g) }) {
			w.Header().Set("WWW-Authenticate", `BASIC realm="ES"`)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		h(w, r)
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone, or reads it
}

func (s *Server) getInfo(w http.ResponseWriter, _ *http.Request) {
	state := "follower"
	if s.cluster.Leader() == s {
		state = "leader"
	}
	authentication := "insecure"
	if s.cluster.users.secured {
		authentication = "internal"
	}
	answer(w, http.StatusOK, map[string]any{
		"esVersion": s.cluster.options.Version + ".0", "state": state,
		"features":       map[string]bool{"projections": false, "userManagement": s.cluster.users.secured, "atomPub": false},
		"authentication": map[string]string{"type": authentication},
	})
}

// A scavengeAnswer is how the API speaks of a scavenge.
type scavengeAnswer struct {
	ID     string `json:"scavengeId"`
	Link   string `json:"scavengeLink,omitempty"`
	Result string `json:"scavengeResult,omitempty"`
}

func (s *Server) postScavenge(w http.ResponseWriter, _ *http.Request) {
	id, started := s.startScavenge()
	if !started {
		http.Error(w, "Scavenge is already running", http.StatusBadRequest)
		return
	}
	answer(w, http.StatusOK, scavengeAnswer{ID: id.String()})
}

func linkTo(id uuid.UUID) string { return "/admin/scavenge/" + id.String() }

func (s *Server) getLastScavenge(w http.ResponseWriter, _ *http.Request) {
	id, result := s.scavenge.last()
	out := scavengeAnswer{ID: id.String(), Result: result}
	if id != uuid.Nil {
		out.Link = linkTo(id)
	}
	answer(w, http.StatusOK, out)
}

func (s *Server) getCurrentScavenge(w http.ResponseWriter, _ *http.Request) {
	id, result := s.scavenge.last()
	if result != scavengeInProgress {
		answer(w, http.StatusOK, map[string]string{"scavengeId": "", "scavengeLink": ""})
		return
	}
	answer(w, http.StatusOK, scavengeAnswer{ID: id.String(), Link: linkTo(id)})
}

func (s *Server) deleteScavenge(w http.ResponseWriter, r *http.Request) {
	if !s.stopScavenge(r.PathValue("id")) {
		http.Error(w, "Scavenge not found", http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, r.PathValue("id"))
}

// A userAnswer is how the API speaks of an account.
type userAnswer struct {
	Data struct {
		Name   string   `json:"loginName"`
		Groups []string `json:"groups"`
	} `json:"data"`
	Success bool   `json:"success"`
	Error   string `json:"error"`
}

// A userRequest creates or changes an account.
type userRequest struct {
	LoginName   string
	Groups      []string
	Password    string
	NewPassword string
}

func readUser(w http.ResponseWriter, r *http.Request) (userRequest, bool) {
	var in userRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return in, false
	}
	return in, true
}

func answerUser(w http.ResponseWriter, code int, a Account, problem string) {
	out := userAnswer{Success: problem == "Success", Error: problem}
	out.Data.Name, out.Data.Groups = a.Name, a.Groups
	answer(w, code, out)
}

func (s *Server) postUser(w http.ResponseWriter, r *http.Request) {
	in, valid := readUser(w, r)
	if !valid {
		return
	}
	a := Account{Name: in.LoginName, Password: in.Password, Groups: in.Groups}
	if !s.cluster.users.add(a) {
		answerUser(w, http.StatusConflict, Account{Name: a.Name}, "Conflict")
		return
	}
	w.Header().Set("Location", s.Admin()+"/users/"+a.Name)
	answerUser(w, http.StatusCreated, a, "Success")
}

func (s *Server) getUser(w http.ResponseWriter, r *http.Request) {
	s.changeUser(w, r, func(*Account) {})
}

func (s *Server) putUser(w http.ResponseWriter, r *http.Request) {
	if in, valid := readUser(w, r); valid {
		s.changeUser(w, r, func(a *Account) { a.Groups = in.Groups })
	}
}

func (s *Server) resetPassword(w http.ResponseWriter, r *http.Request) {
	if in, valid := readUser(w, r); valid {
		s.changeUser(w, r, func(a *Account) { a.Password = in.NewPassword })
	}
}

func (s *Server) changeUser(w http.ResponseWriter, r *http.Request, change func(*Account)) {
	a, known := s.cluster.users.change(r.PathValue("name"), change)
	if !known {
		answerUser(w, http.StatusNotFound, Account{}, "NotFound")
		return
	}
	answerUser(w, http.StatusOK, a, "Success")
}
