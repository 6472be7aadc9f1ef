package unitgen

// ServiceInput is what Service has to know beyond the container. Paths are
// absolute.
type ServiceInput struct {
	InitPath string // cleat-init
	Root     string // state that survives a reboot
	RunRoot  string // state that does not

	// Ref is what the helper is told to start; "" means the container's id. A unit
	// that is there before its container has the name.
	Ref string

	// SystemdVersion is the major version of the systemd that will get the
	// unit; 0 means unknown, which counts as new enough.
	SystemdVersion int

	WantedBy string // the target that boot units are enabled in; "" means multi-user.target

	// BindsTo is a unit that the service ends with; "" means none.
	BindsTo string

	// Sockets are the socket units that an ordinary container has while it runs, see
	// Socket and ProxySocket.
	Sockets []string
	// Mounts are the mount units of volumes, which are up while the container is.
	Mounts []string

	// Names says that the container asks cleat-netd for names.
	Names bool

	// Devices are allowed in addition to the nodes named by spec.Device.Host,
	// for example the content of a directory that was given there.
	Devices []DeviceAllow
}
