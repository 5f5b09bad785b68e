package port1

import "fmt"

// String returns the type in words.
func (t Type) String() string {
	switch t {
	case TypeHello:
		return "hello"
	case TypePeer:
		return "peer"
	case TypePeerAck:
		return "peer ack"
	case TypeConnectReq:
		return "connect req"
	case TypeConnectInd:
		return "connect ind"
	case TypeConnectAck:
		return "connect ack"
	case TypeConnectRsp:
		return "connect rsp"
	}
	return fmt.Sprintf("type %d", uint16(t))
}

// String returns the result in words.
func (r Result) String() string {
	switch r {
	case OK:
		return "ok"
	case Denied:
		return "denied"
	case Unreachable:
		return "unreachable"
	case Budget:
		return "over budget"
	case TimedOut:
		return "timed out"
	case Crossed:
		return "crossed"
	case Refused:
		return "refused"
	case Forbidden:
		return "forbidden"
	case ShuttingDown:
		return "shutting down"
	}
	return fmt.Sprintf("result %d", uint32(r))
}
