package link

// StopForwarding has the kernel forward no packets any more, if it does so for
// cleat's sake alone.
func StopForwarding() error {
	four, six, err := Unrouted()
	if err != nil {
		return err
	}
	if four {
		if err := put(forwarding4, "0"); err != nil {
			return err
		}
	}
	if six {
		return put(forwarding6, "0")
	}
	return nil
}
