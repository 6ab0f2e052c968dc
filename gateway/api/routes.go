package api

import "slices"

// A route is one call of the API.
type route struct {
	// pattern is the method and path, as http.ServeMux reads them. External ids of
	// people stand in bodies, never here: addresses end up in logs.
	pattern string
	// roles may call it; everyone else is denied.
	roles []string
	// because is set where the caller must say why: the call opens or destroys what
	// is held about one person.
	because bool
	// params are the query parameters; any other is refused.
	params []string
	serve  func(*Server, *call) error
}

// The table of who may call what. An operator may do everything and is recorded;
// legal handles people; an auditor reads what names nobody, and replays. The role
// subject has no call here: what a person sees of themselves has its own door.
var (
	operators = []string{RoleOperator}
	handlers  = []string{RoleOperator, RoleLegal}
	replayers = []string{RoleOperator, RoleAuditor}
	readers   = []string{RoleOperator, RoleAuditor, RoleLegal}
	anybody   = []string{RoleOperator, RoleAuditor, RoleLegal, RoleSubject}
)

func routes() []route {
	pages := []string{"cursor", "limit"}
	return []route{
		{pattern: "GET /v1/caller", roles: anybody, serve: (*Server).whoAmI},

		{pattern: "GET /v1/subjects", roles: readers, params: pages, serve: (*Server).subjectList},
		{pattern: "POST /v1/subjects:show", roles: handlers, because: true, serve: (*Server).subjectShow},
		{pattern: "POST /v1/subjects:export", roles: handlers, because: true, serve: (*Server).subjectExport},
		{pattern: "POST /v1/erasures", roles: handlers, because: true, serve: (*Server).erase},
		{pattern: "GET /v1/receipts/{id}", roles: readers, serve: (*Server).receipt},

		{pattern: "GET /v1/retention", roles: readers, serve: (*Server).retentionStatus},
		{pattern: "POST /v1/retention:run", roles: operators, serve: (*Server).retentionRun},
		{pattern: "POST /v1/retention:dispose", roles: operators, serve: (*Server).dispose},

		{pattern: "GET /v1/views", roles: readers, serve: (*Server).views},
		{pattern: "GET /v1/views/{name}/rows", roles: readers, params: pages, serve: (*Server).viewRows},
		{pattern: "GET /v1/views/{name}/digest", roles: readers, serve: (*Server).viewDigest},
		{pattern: "POST /v1/views:rebuild", roles: operators, serve: (*Server).rebuild},
		{pattern: "POST /v1/audit:replay", roles: replayers, serve: (*Server).replay},

		{pattern: "GET /v1/jobs/{id}", roles: readers, serve: (*Server).job},
		{pattern: "DELETE /v1/jobs/{id}", roles: readers, serve: (*Server).jobCancel},
		{pattern: "GET /v1/jobs/{id}/file", roles: replayers, serve: (*Server).jobFile},

		{pattern: "GET /v1/keys", roles: replayers, serve: (*Server).keysStatus},
		{pattern: "POST /v1/keys:trust-clock", roles: operators, serve: (*Server).trustClock},
		{pattern: "POST /v1/keys:restore-check", roles: operators, serve: (*Server).restoreCheck},
		{pattern: "GET /v1/tokens", roles: operators, serve: (*Server).tokenList},
		{pattern: "POST /v1/tokens", roles: operators, serve: (*Server).tokenCreate},
		{pattern: "POST /v1/tokens:revoke", roles: operators, serve: (*Server).tokenRevoke},
		{pattern: "GET /v1/nodes", roles: replayers, serve: (*Server).nodes},
		{pattern: "POST /v1/nodes:retire", roles: operators, serve: (*Server).retireNode},
		{pattern: "GET /v1/doctor", roles: replayers, serve: (*Server).doctor},
		{pattern: "GET /v1/feed", roles: readers, serve: (*Server).feed},
	}
}

func (r route) admits(role string) bool { return slices.Contains(r.roles, role) }
