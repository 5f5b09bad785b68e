package rig_test
import ("testing";"xvsock/image/rig";"time";"fmt")
func TestZZ(t *testing.T){
 s:=rig.Boot(t, rig.Config{Files: map[string]string{"/boot/vmlinux":"/tmp/img/vmlinux-cloud"},BootTimeout:200*time.Second,StepTimeout:200*time.Second})
 hello:=helloRamdisk(t)
 mk:=map[string][]string{}
 for range 4 { for _,k:=range []string{"","/boot/vmlinux"} { for _, m := range []int{96,256} { 
  ex:=""; if k!="" { ex="kernel=\""+k+"\"" }
  b:=time.Now()
  d:=s.Guest(rig.Guest{Name:"g", Ramdisk:hello, Extra: ex, Paused:true, MemoryMB: m}); c:=time.Since(b)
  kk:=fmt.Sprint(k,m); mk[kk]=append(mk[kk],fmt.Sprintf("%.2f",c.Seconds()))
  d.Destroy(t.Context()); d.AwaitGone(t.Context())
 }}}
 t.Log(mk)
 t.Log(s.Sh("(time xl create -p /etc/xen/g.cfg; xl destroy g; time cat /boot/vmlinux >/dev/null; time xl list) 2>&1"))
}
