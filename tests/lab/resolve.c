/* A name to its addresses as the C library's resolver sees it; built against musl by test_dns.py. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **words)
{
	struct addrinfo wanted, *found, *each;
	char text[64];
	int error;

	memset(&wanted, 0, sizeof wanted);
	wanted.ai_socktype = SOCK_STREAM;
	if (count != 2)
		return 2;
	error = getaddrinfo(words[1], 0, &wanted, &found);
	if (error) {
		puts(gai_strerror(error));
		return 1;
	}
	for (each = found; each; each = each->ai_next) {
		getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
		puts(text);
	}
	return 0;
}
