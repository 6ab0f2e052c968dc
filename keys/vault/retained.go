package vault

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/keys"
)

// A retained bucket is a retention record as its page holds it:
//
//	version ‖ destroyed u8 ‖ due ‖ journal u64 ‖ lp(Transit key)
//	  ‖ lp(wrapped data key) ‖ bundle id[16] ‖ lp(sealed R)      while it lives
//
// Behind the destruction the Transit key's name stays until that key is gone, too.
type retained struct {
	keys.RetentionRecord
	box
}

func (r retained) encode() []byte {
	out := []byte{recordVersion, 0}
	if r.Destroyed {
		out[1] = 1
	}
	out = appendTime(out, r.Due)
	out = binary.BigEndian.AppendUint64(out, r.Journal)
	out = domain.AppendLPString(out, string(r.Key))
	if r.Destroyed {
		return out
	}
	out = domain.AppendLPString(out, r.Wrapped)
	out = append(out, r.ID[:]...)
	return domain.AppendLP(out, r.Sealed)
}

func decodeRetained(k domain.RetentionKey, raw []byte) (retained, error) {
	in := reader{rest: raw}
	version, destroyed := in.byte(), in.byte()
	r := retained{RetentionRecord: keys.RetentionRecord{RetentionKey: k, Destroyed: destroyed == 1, Due: in.time(), Journal: in.u64()}}
	r.Key = keyName(in.lp())
	if !r.Destroyed {
		r.Wrapped = string(in.lp())
		copy(r.ID[:], in.take(len(r.ID)))
		r.Sealed = in.lp()
	}
	if in.failed || len(in.rest) > 0 || version != recordVersion || destroyed > 1 {
		return r, errRecord
	}
	return r, nil
}

// retentionPlace binds an R to its bucket.
func retentionPlace(k domain.RetentionKey) place {
	name := []byte{}
	for _, part := range []string{string(k.Class), string(k.Tier), string(k.Bucket)} {
		name = domain.AppendLPString(name, part)
	}
	sum := sha256.Sum256(name)
	return place{kind: ofRetention, scope: domain.Obligated, owner: [16]byte(sum[:16])}
}

// pageOf names the page of a bucket: a day of minutes, a month of hours or days,
// a year of months, a year. The largest has 1440 records, about 400 kB.
func pageOf(b domain.Bucket) string {
	switch b.Width() {
	case domain.Minute:
		return string(b[:len("2006-01-02")])
	case domain.HourW, domain.Day:
		return string(b[:len("2006-01")])
	case domain.Month, domain.Year:
		return string(b[:len("2006")])
	}
	return ""
}

// A page is one table of retention records.
type page struct {
	class domain.Class
	tier  domain.Tier
	name  string
}

func (p page) path() string { return "retention/" + p.indexed() }

func (p page) indexed() string { return string(p.class) + "/" + string(p.tier) + "/" + p.name }

func parsePage(s string) (page, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return page{}, errRecord
	}
	return page{domain.Class(parts[0]), domain.Tier(parts[1]), parts[2]}, nil
}

func pageFor(k domain.RetentionKey) (page, error) {
	p := page{k.Class, k.Tier, pageOf(k.Bucket)}
	if err := k.Class.Validate(); err != nil {
		return p, err
	}
	if err := k.Tier.Validate(); err != nil {
		return p, err
	}
	_, err := domain.ParseBucket(string(k.Bucket))
	return p, err
}
