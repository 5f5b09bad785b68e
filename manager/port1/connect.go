package port1

import (
	"encoding/binary"

	"xvsock/grant"
	"xvsock/xen"
)

// CONNECT_req and CONNECT_ind:
//
//	16 domain u16    18 zero u16    20 port u32
//	24 attachment 16 bytes
//	40 terms
//
// CONNECT_ack and CONNECT_rsp:
//
//	16 result u32    20 zero u32
//	24 terms
//
// Terms:
//
//	 0 generation u64    8 header u32    12 events u32
//	16 access u8        17..23 zero
//
// Of a result that is not OK the terms are zero. What header and events name is
// checked by the hypervisor, when they are used.
const (
	requestZero       = 18
	requestPort       = 20
	requestAttachment = 24
	requestTerms      = 40
	requestSize       = requestTerms + termsSize

	answerZero  = 20
	answerTerms = 24
	answerSize  = answerTerms + termsSize

	termsHeader = 8
	termsEvents = 12
	termsAccess = 16
	termsZero   = 17
	termsSize   = 24
)

// ParseConnectReq reads one whole CONNECT_req. An error is an *Error.
func ParseConnectReq(b []byte) (ConnectReq, error) { return parseRequest(b, TypeConnectReq) }

// ParseConnectInd reads one whole CONNECT_ind. An error is an *Error.
func ParseConnectInd(b []byte) (ConnectInd, error) {
	m, err := parseRequest(b, TypeConnectInd)
	return ConnectInd(m), err
}

// ParseConnectAck reads one whole CONNECT_ack. A result that a responder may not
// give is refused, like any other error with an *Error.
func ParseConnectAck(b []byte) (ConnectAck, error) {
	m, err := parseAnswer(b, TypeConnectAck)
	if err != nil {
		return ConnectAck{}, err
	}
	switch m.Result {
	case OK, Denied, Refused, Forbidden, ShuttingDown:
		return m, nil
	}
	return ConnectAck{}, &Error{TypeConnectAck, "result", uint64(m.Result), "not for a responder to say"}
}

// ParseConnectRsp reads one whole CONNECT_rsp. An error is an *Error.
func ParseConnectRsp(b []byte) (ConnectRsp, error) {
	m, err := parseAnswer(b, TypeConnectRsp)
	return ConnectRsp(m), err
}

// Append appends the message to b.
func (m ConnectReq) Append(b []byte) []byte { return m.append(b, TypeConnectReq) }

// Append appends the message to b.
func (m ConnectInd) Append(b []byte) []byte { return ConnectReq(m).append(b, TypeConnectInd) }

// Append appends the message to b. The terms are left out of a result that is not
// OK.
func (m ConnectAck) Append(b []byte) []byte { return m.append(b, TypeConnectAck) }

// Append appends the message to b. The terms are left out of a result that is not
// OK.
func (m ConnectRsp) Append(b []byte) []byte { return ConnectAck(m).append(b, TypeConnectRsp) }

func parseRequest(b []byte, t Type) (ConnectReq, error) {
	h, err := parseWhole(b, t)
	if err != nil {
		return ConnectReq{}, err
	}
	m := ConnectReq{
		ID:         h.ID,
		Domain:     xen.DomID(binary.LittleEndian.Uint16(b[bodyOffset:])),
		Port:       binary.LittleEndian.Uint32(b[requestPort:]),
		Attachment: Attachment(b[requestAttachment:requestTerms]),
	}
	if !m.Domain.Valid() {
		return ConnectReq{}, &Error{t, "domain", uint64(m.Domain), "not the id of a domain"}
	}
	if m.Port == 0 || m.Port == anyPort {
		return ConnectReq{}, &Error{t, "port", uint64(m.Port), "not a port"}
	}
	if err := checkZero(t, "zero", b[requestZero:requestPort]); err != nil {
		return ConnectReq{}, err
	}
	if m.Terms, err = parseTerms(t, b[requestTerms:]); err != nil {
		return ConnectReq{}, err
	}
	return m, nil
}

func (m ConnectReq) append(b []byte, t Type) []byte {
	b = appendHeader(b, t, requestSize, m.ID)
	b = binary.LittleEndian.AppendUint16(b, uint16(m.Domain))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, m.Port)
	b = append(b, m.Attachment[:]...)
	return m.Terms.append(b)
}

func parseAnswer(b []byte, t Type) (ConnectAck, error) {
	h, err := parseWhole(b, t)
	if err != nil {
		return ConnectAck{}, err
	}
	m := ConnectAck{ID: h.ID, Result: Result(binary.LittleEndian.Uint32(b[bodyOffset:]))}
	if m.Result > lastResult {
		return ConnectAck{}, &Error{t, "result", uint64(m.Result), "no such result"}
	}
	if err := checkZero(t, "zero", b[answerZero:answerTerms]); err != nil {
		return ConnectAck{}, err
	}
	if m.Result != OK {
		err = checkZero(t, "terms", b[answerTerms:])
	} else {
		m.Terms, err = parseTerms(t, b[answerTerms:])
	}
	if err != nil {
		return ConnectAck{}, err
	}
	return m, nil
}

func (m ConnectAck) append(b []byte, t Type) []byte {
	b = appendHeader(b, t, answerSize, m.ID)
	b = binary.LittleEndian.AppendUint32(b, uint32(m.Result))
	b = append(b, 0, 0, 0, 0)
	if m.Result != OK {
		m.Terms = Terms{}
	}
	return m.Terms.append(b)
}

func parseTerms(t Type, b []byte) (Terms, error) {
	terms := Terms{
		Generation: binary.LittleEndian.Uint64(b),
		Header:     grant.Ref(binary.LittleEndian.Uint32(b[termsHeader:])),
		Events:     xen.Port(binary.LittleEndian.Uint32(b[termsEvents:])),
		Access:     Access(b[termsAccess]),
	}
	if terms.Access > AccessMap {
		return Terms{}, &Error{t, "access", uint64(terms.Access), "no such access"}
	}
	return terms, checkZero(t, "zero of the terms", b[termsZero:termsSize])
}

func (t Terms) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, t.Generation)
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Header))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.Events))
	return append(b, byte(t.Access), 0, 0, 0, 0, 0, 0, 0)
}
