module xvsock/bench/native

go 1.26.0

require (
	go.uber.org/goleak v1.3.0
	xvsock v0.0.0
)

require (
	github.com/hashicorp/yamux v0.1.2
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace xvsock => ../..
