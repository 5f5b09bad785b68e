package rig_test
import ("testing";"xvsock/image/rig";"time")
func TestZZ(t *testing.T){
 s:=rig.Boot(t, rig.Config{Files: map[string]string{"/boot/vmlinux":"/tmp/img/vmlinux-cloud"}})
 hello:=helloRamdisk(t)
 for _,k:=range []string{"","/boot/vmlinux"} { for _, ty := range []string{"pv","pvh"} { for range 2 {
  ex:=""; if k!="" { ex="kernel=\""+k+"\"" }
  b:=time.Now()
  d:=s.Guest(rig.Guest{Name:"g",Type: xt(ty), Ramdisk:hello, Extra: ex}); c:=time.Since(b)
  s.Await(d,"hello from"); t.Logf("%s %q create %.2f pid1 %.2f", ty,k,c.Seconds(),time.Since(b).Seconds())
  b=time.Now()
  d.Destroy(t.Context()); t.Logf("destroy %.2f", time.Since(b).Seconds())
  d.AwaitGone(t.Context())
 }}}
 t.Log(s.Sh("cat /etc/xen/g.cfg; (xl -vvv -t create -p /etc/xen/g.cfg) 2>&1 | tail -400"))
}
