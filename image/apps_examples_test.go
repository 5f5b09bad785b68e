package image_test

import (
	"os/exec"
	"path/filepath"
	"time"
)

// examplesDir is where the examples of examples/afvsock are in the image.
const examplesDir = "/examples"

// addExamples adds them to the files of the image; those in C are built, static.
func (a *apps) addExamples(files map[string]string) {
	a.t.Helper()
	const from = "../examples/afvsock"
	for _, name := range []string{"echo", "client"} {
		out := filepath.Join(a.t.TempDir(), name)
		cmd := exec.CommandContext(a.t.Context(), "gcc", "-std=c11", "-O2", "-static", "-o", out, filepath.Join(from, "c", name+".c"))
		if said, err := cmd.CombinedOutput(); err != nil {
			a.t.Fatalf("build %s.c: %v\n%s", name, err, said)
		}
		files[examplesDir+"/"+name] = out
	}
	for _, name := range []string{"python/server.py", "python/client.py", "shell/send.sh", "shell/receive.sh"} {
		files[examplesDir+"/"+filepath.Base(name)] = filepath.Join(from, name)
	}
}

// examples runs them as docs/applications.md does.
func (a *apps) examples() {
	inA, inB := a.at("a"), a.at("b")
	in := "cd " + examplesDir + " && "
	for _, tt := range []struct{ name, server, client, want string }{
		{"c", "./echo 5010", "echo hello | ./client " + inB.cid() + " 5010", "hello"},
		{"socat", "socat VSOCK-LISTEN:5012,fork EXEC:sort", `printf 'b\na\n' | socat -t 5 - VSOCK-CONNECT:` + inB.cid() + ":5012", `a\nb`},
		{"listen", "xvsock listen 7100 --fork -- sh -c 'echo you are $XVSOCK_PEER_CID; cat'", "echo hello | xvsock connect b:7100", "you are " + inA.cid() + `\nhello`},
	} {
		a.start(inB, tt.name, in+tt.server, "")
		a.comes(inA, 20*time.Second, in+"test \"$("+tt.client+")\" = \"$(printf '"+tt.want+"')\"")
		a.stop(inB, tt.name)
	}
	a.start(inB, "python", in+"python3 server.py 5011", "")
	a.comes(inA, 20*time.Second, in+"python3 client.py "+inB.cid()+" 5011 3")
	a.stop(inB, "python")

	a.start(inB, "receive", in+"sh receive.sh 5013 /tmp/received", "")
	a.comes(inA, 20*time.Second, in+"sh send.sh "+inB.cid()+" 5013 /usr/bin/xvsock")
	a.run(inB, "cmp /tmp/received /usr/bin/xvsock && rm /tmp/received")

	// A program of TCP, through a proxy.
	a.start(inB, "cat", "xvsock listen 7200 --fork -- cat", "")
	a.start(inA, "proxy", "xvsock proxy tcp:7200 xvsock:b:7200", "")
	a.comes(inA, 20*time.Second, `test "$(echo hello | socat -t 5 - TCP:127.0.0.1:7200)" = hello`)
	a.stop(inA, "proxy")
	a.stop(inB, "cat")

	// The kernel's sockets at both ends of proxies.
	a.start(inB, "cat", "xvsock proxy vsock:7300 xvsock:self:echo", "")
	a.start(inA, "proxy", "xvsock proxy unix:/tmp/proxied vsock:"+inB.cid()+":7300", "")
	a.comes(inA, 20*time.Second, `test "$(echo hello | socat -t 5 - UNIX:/tmp/proxied)" = hello`)
	a.stop(inA, "proxy")
	a.stop(inB, "cat")
}
