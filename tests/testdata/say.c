// say sends each argument as one message to $NOTIFY_SOCKET, see sd_notify(3). One
// that begins with FDSTORE has a descriptor attached.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int send_one(int fd, const char *text) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct iovec part = {(void *)text, strlen(text)};
	struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
	const char *path = getenv("NOTIFY_SOCKET");

	if (path == NULL || strlen(path) >= sizeof to.sun_path) {
		fputs("no NOTIFY_SOCKET\n", stderr);
		return -1;
	}
	strcpy(to.sun_path, path);
	if (strncmp(text, "FDSTORE", 7) == 0) {
		memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
	}
	if (sendmsg(fd, &message, 0) < 0) {
		perror(path);
		return -1;
	}
	return 0;
}

int main(int argc, char **argv) {
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	for (int i = 1; i < argc; i++)
		if (send_one(fd, argv[i]) < 0)
			return 1;
	return 0;
}
