package image_test

import (
	"fmt"
	"strings"

	"xvsock/image"
	"xvsock/image/rig"
)

// wrongSettings boots one guest with everything wrong that can be: each is said in a
// line of its own, and what is right is served.
func (h *xenHost) wrongSettings() {
	settings := []struct{ key, value, says string }{
		{"serivce", "echo", "xvsock.serivce"},                                       // unknown
		{"log", "loud", "loud"},                                                     // no such value
		{"module", "no_such_module", "no_such_module"},                              // unknown module
		{"service", "gone:1001:exec-once:/no/such", `service=gone error="/no/such`}, // missing payload
		{"service", "dies:1002:exec-once:/payload", "service=dies error="},          // dies at once
		{"service", "twice:1002:exec:/payload", "twice:1002"},                       // port taken
		{"service", "low:1:exec:/payload", "low:1"},                                 // reserved port
		{"service", "two:3:exec:/payload", "two:3"},                                 // a built-in's port
		{"service", "high:4294967295:exec:/payload", "high:4294967295"},             // no port
		{"service", "word:ten:exec:/payload", "word:ten"},                           // no number
	}
	words := []string{"xvsock.service=echo"}
	for _, s := range settings {
		words = append(words, "xvsock."+s.key+"="+s.value)
	}
	d := h.Guest(rig.Guest{
		Name: "wrong", Paused: true, Cmdline: strings.Join(words, " "),
		Ramdisk: h.payloads(map[string]string{"etc/xvsock.toml": "colour = \"blue\"\npanic = 7\n"}),
	})
	h.Sh(fmt.Sprintf(`xenstore-write /local/domain/%v/xvsock/config/policy '\x01\xff\x02' && xl unpause wrong`, d.ID))
	h.Await(d, "xvsock: ready in")
	for _, s := range settings {
		h.t.Log(h.said(d, "xvsock", s.says))
	}
	h.t.Log(h.said(d, "xvsock.toml:1", "colour="))
	h.t.Log(h.said(d, "xvsock.toml:2", "panic="))
	h.t.Log(h.said(d, "xenstore:", "policy="))
	h.served(d)
	h.Sh("xl destroy wrong")
}

// cutCommandLine gives a PV guest as long a command line as libxl passes on.
func (h *xenHost) cutCommandLine() {
	const most = 1023
	words := "xvsock.service=echo filler="
	words += strings.Repeat("x", most-len("console=hvc0 quiet panic=1 ")-len(words))
	d := h.Guest(rig.Guest{Name: "long", Type: image.PV, Ramdisk: h.ramdisk, Cmdline: words})
	h.Await(d, "xvsock: ready in")
	h.t.Log(h.said(d, "xvsock", "cut"))
	h.served(d)
	h.Sh("xl destroy long")
}

// strictSettings has a wrong key in a guest that is to take no wrong settings.
func (h *xenHost) strictSettings() {
	d := h.Guest(rig.Guest{
		Name: "strict", Ramdisk: h.ramdisk, Cmdline: "xvsock.strict=1 xvsock.panic=halt xvsock.service=echo xvsock.serivce=echo xvsock.log=loud",
	})
	line := h.Await(d, "fatal")
	h.t.Log(line)
	if !strings.Contains(line, "xvsock.serivce") {
		h.t.Errorf("the line does not name the first problem")
	}
	h.gone(d)
}
