package workload
import ("testing";"os/exec";"os";"strconv";"time";"fmt")
func TestLook(t *testing.T){
 lab,ctx:=newLab(t,Options{FinTimeout: 3*time.Second})
 for _,k:=range []Kind{TWFinAgain,ClientFirst,OrphanFinWait2,TWSyn,TWReused,Simultaneous}{
  l,err:=lab.Run(ctx,k); if err!=nil{t.Fatal(err)}
  t.Log(k,l.Counters)
  checkCounters(t,l)
 }
 lab.Do(func() error { b,err:=exec.Command("ss","-taneo").CombinedOutput(); t.Log(string(b)); return err})
}
func TestBig(t *testing.T){
 n,_:=strconv.Atoi(os.Getenv("N")); w,_:=strconv.Atoi(os.Getenv("W"))
 if n==0 {t.Skip()}
 lab,ctx:=newLab(t,Options{Workers:w})
 b:=time.Now()
 l,err:=lab.Storm(ctx,n); if err!=nil{t.Fatal(err)}
 checkCounters(t,l)
 kinds:=map[Kind]int{}
 for _,c:=range l.Closes {kinds[c.Kind]++}
 t.Log(time.Since(b), kinds, l.Totals())
 fmt.Println(len(l.Closes))
}
