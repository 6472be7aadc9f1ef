// Package sandbox makes a process a container: namespaces, mounts, devices,
// limits, user, capabilities, seccomp, and at last execve(2). It is what
// cleat-init does, and how other programs run a further command in a container.
//
// A start has two stages. Launch runs in the unit's cgroup as root of the host:
// it makes the pipes, clones the second stage into new namespaces, makes it the
// unit's main process and waits until the payload runs. Setup is the second
// stage: it is PID 1 of the container, builds its root filesystem and becomes
// the payload. Exec runs a further command in a container that Launch started.
//
// Three rules keep a hostile image or container out:
//   - Everything in the container's tree is opened by descriptor with
//     openat2(2), beneath its root (package inroot), and mounted on by
//     descriptor. No path in the tree is looked at twice.
//   - What belongs to the kernel (procfs, the terminal, /dev/null) is used
//     through descriptors of filesystems made here, and verified.
//   - The second stage runs from a read-only mount of the binary, is not
//     dumpable, and has no descriptor left when the payload begins but those of
//     the sockets that are the payload's.
//
// The calls used need Linux 5.12 (mount_setattr(2)).
package sandbox
