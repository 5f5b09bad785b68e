// Package varlink speaks JSON messages in the Varlink shape over a connection,
// with a peer that may lie.
//
// A message is one JSON object, ended by a newline or by a NUL byte; the answer
// to it ends with the same byte. So that a newline may end it, a message has
// none inside.
//
//	call   {"method":"org.example.Do","parameters":{...},"more":true}
//	reply  {"parameters":{...},"continues":true}
//	error  {"error":"org.example.Failed","parameters":{...}}
//
// Replies come in the order of the calls. A call with more set may be answered
// by several replies, all but the last with continues set. The member oneway
// is allowed and ignored: every call is answered. A caller that waits for more
// keeps its sending side open: the end of it ends the stream.
//
// encoding/json alone is too forgiving for strangers: it matches names without
// regard to case and lets the last of two equal names win, so that two readers
// of one message may disagree about what it says. Here a message is UTF-8, its
// names are exact, no two of an object differ by case only, nothing follows
// the object, and size and depth are bounded; see Unmarshal.
package varlink
