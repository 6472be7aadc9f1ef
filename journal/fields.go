package journal

// Fields that the broker writes with every line of a container. The names, and
// the form of their values, are those of Docker's journald log driver.
const (
	// FieldMessage holds one line of output without its newline, as raw bytes.
	FieldMessage = "MESSAGE"
	// FieldPriority holds the syslog level: see PriorityStdout, PriorityStderr.
	FieldPriority = "PRIORITY"
	// FieldContainerID holds the first 12 digits of the container's id.
	FieldContainerID = "CONTAINER_ID"
	// FieldContainerIDFull holds all 64 digits of the container's id.
	FieldContainerIDFull = "CONTAINER_ID_FULL"
	// FieldContainerName holds the container's name without a leading slash.
	FieldContainerName = "CONTAINER_NAME"
	// FieldContainerTag holds the expanded --log-opt tag.
	FieldContainerTag = "CONTAINER_TAG"
	// FieldImageName holds the image reference as the user gave it.
	FieldImageName = "IMAGE_NAME"
	// FieldSyslogIdentifier holds the same text as FieldContainerTag.
	FieldSyslogIdentifier = "SYSLOG_IDENTIFIER"
	// FieldSyslogTimestamp holds the time at which the line was read from the
	// container, as time.RFC3339Nano.
	FieldSyslogTimestamp = "SYSLOG_TIMESTAMP"
)

// Fields of a line that was too long for one entry.
const (
	// FieldPartialMessage is "true" on every part but the last.
	FieldPartialMessage = "CONTAINER_PARTIAL_MESSAGE"
	// FieldPartialID is the same text on all parts of one line.
	FieldPartialID = "CONTAINER_PARTIAL_ID"
	// FieldPartialOrdinal counts the parts of one line in decimal, from 1.
	FieldPartialOrdinal = "CONTAINER_PARTIAL_ORDINAL"
	// FieldPartialLast is "true" on the last part and "false" on the others.
	FieldPartialLast = "CONTAINER_PARTIAL_LAST"
)

// Fields that Docker's driver adds when they apply.
const (
	// FieldContainerLogEpoch and FieldContainerLogOrdinal number the lines of
	// one run of the logger; cleat reads past them and does not write them.
	FieldContainerLogEpoch   = "CONTAINER_LOG_EPOCH"
	FieldContainerLogOrdinal = "CONTAINER_LOG_ORDINAL"
)

// Fields that journald itself treats specially; see
// systemd.journal-fields(7).
const (
	// FieldMessageID marks a kind of message by a 128-bit id.
	FieldMessageID = "MESSAGE_ID"
	// FieldObjectSystemdUnit names the unit an entry is about. Only root may
	// set it to another unit's name so that journalctl -u believes it.
	FieldObjectSystemdUnit = "OBJECT_SYSTEMD_UNIT"
	// FieldSystemdUnit is the sender's unit. It starts with an underscore: it
	// is journald that fills it in, so a sender cannot forge it.
	FieldSystemdUnit = "_SYSTEMD_UNIT"
	// FieldSystemdInvocationID is the trusted id of one run of that unit.
	FieldSystemdInvocationID = "_SYSTEMD_INVOCATION_ID"
	// FieldBootID is the trusted id of the boot in which the entry was taken in.
	FieldBootID = "_BOOT_ID"
	// FieldUID is the sender's trusted numeric user id.
	FieldUID = "_UID"
	// FieldPID is the sender's trusted process id.
	FieldPID = "_PID"
)

// Values of FieldPriority for container output.
const (
	PriorityStdout = "6" // info
	PriorityStderr = "3" // err
)

// BrokerUnit is the unit that runs the broker. Lines that arrive after the
// death of the payload carry it as FieldSystemdUnit.
const BrokerUnit = "cleat-stdiod.service"
