package child

import "syscall"

func dieWithParent(a *syscall.SysProcAttr, last syscall.Signal) { a.Pdeathsig = last }
