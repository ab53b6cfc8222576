/* What musl's resolver says of a name: one address a line. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (count != 2) return 2;
    int failed = getaddrinfo(words[1], NULL, &hints, &found);
    if (failed) {
        fprintf(stderr, "%s\n", gai_strerror(failed));
        return 1;
    }
    for (; found; found = found->ai_next) {
        char text[INET6_ADDRSTRLEN];
        const void *address = found->ai_family == AF_INET6
            ? (const void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr
            : (const void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr;
        puts(inet_ntop(found->ai_family, address, text, sizeof text));
    }
    return 0;
}
