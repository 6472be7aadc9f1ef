package dns

import (
	"errors"
	"fmt"

	"golang.org/x/net/dns/dnsmessage"
)

// ttlSeconds is how long an answer may be kept: containers come and go.
const ttlSeconds = 5

// The sizes of UDP messages: what everybody takes (RFC 1035), and the most that
// we send to who says that it takes more (RFC 6891).
const (
	minUDP = 512
	maxUDP = 4096
)

// errForward says that the question is not ours to answer.
var errForward = errors.New("not a container's name")

// query is a parsed question.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool // it has an OPT record, so the answer needs one
	size     int  // of the largest UDP answer that the client takes
}

// parse reads a query. Only one with one question can be understood; nobody
// sends others.
func parse(msg []byte) (query, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return query{}, fmt.Errorf("parse query: %w", err)
	}
	q := query{header: h, size: minUDP}
	if h.Response {
		return query{}, errors.New("parse query: it is an answer")
	}
	if q.question, err = p.Question(); err != nil {
		return query{}, fmt.Errorf("parse question: %w", err)
	}
	if err := p.SkipAllQuestions(); err != nil {
		return query{}, fmt.Errorf("parse questions: %w", err)
	}
	q.options(&p)
	return q, nil
}

// options looks for an OPT record behind the question (RFC 6891). Garbage there
// does not make the question worse: it ends the search.
func (q *query) options(p *dnsmessage.Parser) {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns, q.size = true, min(max(int(h.Class), minUDP), maxUDP)
		}
		if p.SkipAdditional() != nil {
			return
		}
	}
}

// reply makes an answer of the given resources. It is cut down to size bytes,
// with the mark that makes the client ask again by TCP.
func (q query) reply(code dnsmessage.RCode, answer []dnsmessage.ResourceBody, size int) ([]byte, error) {
	msg, err := q.build(code, answer, false)
	if err == nil && len(msg) > size {
		return q.build(code, nil, true)
	}
	return msg, err
}

func (q query) build(code dnsmessage.RCode, answer []dnsmessage.ResourceBody, truncated bool) ([]byte, error) {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.header.ID, Response: true, OpCode: q.header.OpCode, RCode: code, Truncated: truncated,
			RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q.question},
	}
	for _, body := range answer {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttlSeconds}, Body: body,
		})
	}
	if q.edns {
		var opt dnsmessage.ResourceHeader
		if err := opt.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: opt, Body: &dnsmessage.OPTResource{}})
	}
	msg, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack answer: %w", err)
	}
	return msg, nil
}

// answer answers a query from the records, or returns errForward. Turn says
// where a list of several addresses begins, so that callers take turns.
func (r *Records) answer(q query, size int, turn uint32) ([]byte, error) {
	if q.header.OpCode != 0 { // only QUERY is a question
		return q.reply(dnsmessage.RCodeNotImplemented, nil, size)
	}
	found, ours := r.lookup(q.question)
	if !ours {
		return nil, errForward
	}
	if n := len(found); n > 1 {
		k := int(turn % uint32(n))
		found = append(append(make([]dnsmessage.ResourceBody, 0, n), found[k:]...), found[:k]...)
	}
	return q.reply(dnsmessage.RCodeSuccess, found, size)
}
