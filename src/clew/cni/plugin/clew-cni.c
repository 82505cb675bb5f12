/* The CNI plugin for nodes without Python: what clew-cni beside this file does, held to it by the same tests.
 *
 * Passes a runtime's call on to the agent of this node and prints the answer; it decides nothing. The messages are
 * described in clew/cni/framing.py. Built by scripts/build-cni as one static file of the C library's; it allocates
 * as it goes and frees nothing, for it ends with the call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SECONDS 90 /* how long a runtime may have to wait for an agent that is there */
#define LARGEST (1 << 20) /* bytes of a call that the agent takes */
#define LONGEST_ID 200   /* as the agent has it */
#define LONGEST_NAME 15  /* bytes of an interface's */
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#define NEWEST "1.1.0"
static const char *const SPEAKS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", NEWEST};
#define SPOKEN (sizeof SPEAKS / sizeof SPEAKS[0])

struct text {
    char *bytes; /* ends with a NUL that `length` does not count */
    size_t length;
};

extern char **environ;

static void say(const char *bytes, size_t length, int status)
{
    while (length > 0) {
        ssize_t written = write(1, bytes, length);
        if (written < 0 && errno != EINTR)
            _exit(1);
        if (written > 0) {
            bytes += written;
            length -= (size_t)written;
        }
    }
    _exit(status);
}

static void *grown(void *bytes, size_t length)
{
    void *found = realloc(bytes, length);
    if (found == NULL)
        _exit(1);
    return found;
}

static void append(struct text *to, const char *bytes, size_t length)
{
    to->bytes = grown(to->bytes, to->length + length + 1);
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
    to->bytes[to->length] = 0;
}

static struct text print(const char *format, ...)
{
    struct text made = {NULL, 0};
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&made.bytes, format, arguments);
    va_end(arguments);
    if (length < 0)
        _exit(1);
    made.length = (size_t)length;
    return made;
}

/* Everything up to the end of `file`; 0 where it ends well. */
static int read_all(int file, struct text *to)
{
    char part[65536];
    for (;;) {
        ssize_t length = read(file, part, sizeof part);
        if (length == 0)
            return 0;
        if (length > 0)
            append(to, part, (size_t)length);
        else if (errno != EINTR)
            return -1;
    }
}

static const char *after_blanks(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* The end of the text that begins at `at`, its closing quote; NULL where it has none. Escaped ones do not count. */
static const char *closing(const char *at, const char *end)
{
    while (at < end && *at != '"')
        at += *at == '\\' && at + 1 < end && (at[1] == '\\' || at[1] == '"') ? 2 : 1;
    return at < end ? at : NULL;
}

/* Without the escapes that `closing` knows: of anything else they are nobody's here. */
static struct text unescaped(const char *at, const char *end)
{
    struct text found = print("");
    while (at < end)
        if (*at == '\\' && at + 1 < end && (at[1] == '\\' || at[1] == '"'))
            at += 2;
        else
            append(&found, at++, 1);
    return found;
}

/* The text of a field of the configuration itself, of none within it; else `otherwise`. */
static const char *field(const struct text *config, const char *name, const char *otherwise)
{
    const char *at = config->bytes, *end = at + config->length;
    int depth = 0, wanted = 0; /* wanted: the text that comes next is the field's */
    for (; at < end; at++) {
        if (*at == '"') {
            const char *last = closing(at + 1, end), *next = last;
            if (last == NULL)
                break;
            struct text text = unescaped(at + 1, last);
            if (wanted)
                return text.bytes;
            if (depth == 1 && text.length == strlen(name) && memcmp(text.bytes, name, text.length) == 0) {
                next = after_blanks(last + 1);
                wanted = *next == ':' && *after_blanks(next + 1) == '"';
            }
            at = last;
        } else {
            depth += *at == '{' ? 1 : *at == '}' ? -1 : 0;
        }
    }
    return otherwise;
}

static int speaks(const char *version)
{
    for (size_t place = 0; place < SPOKEN; place++)
        if (strcmp(version, SPEAKS[place]) == 0)
            return 1;
    return 0;
}

/* The version of the specification to answer in. */
static const char *spoken(const struct text *config)
{
    const char *version = field(config, "cniVersion", NEWEST);
    return speaks(version) ? version : NEWEST;
}

static void fail(const struct text *config, int code, const char *format, ...)
{
    char *message;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&message, format, arguments) < 0)
        _exit(1);
    va_end(arguments);
    struct text quoted = print("");
    for (; *message; message++) { /* JSON is UTF-8 */
        unsigned char letter = (unsigned char)*message;
        if (letter == '\\')
            append(&quoted, "\\\\", 2);
        else
            append(&quoted, letter == '"' ? "'" : letter <= 32 ? " " : letter >= 127 ? "?" : message, 1);
    }
    struct text error = print("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"}", spoken(config), code, quoted.bytes);
    say(error.bytes, error.length, 1);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

/* The first and the last byte that is no blank. */
static int is_object(const struct text *config)
{
    const char *first = after_blanks(config->bytes), *last = config->bytes + config->length;
    while (last > first && strchr(" \t\r\n", last[-1]) != NULL && last[-1] != 0)
        last--;
    return *first == '{' && last[-1] == '}';
}

/* End the call where it is wrong whatever an agent would say of it: nobody answers, and trying again is no use. */
static void judge(const struct text *config, const char *command)
{
    static const char *const COMMANDS[] = {"ADD", "CHECK", "DEL", "GC", "STATUS"};
    static const char *const NEEDED[] = {"CNI_PATH", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"};
    static const size_t NEEDS[] = {4, 4, 3, 1, 1}; /* how many of these, by command */
    static const size_t SHOWN[] = {1, 2, 0, 3};
    size_t which = 0;
    while (which < 5 && strcmp(command, COMMANDS[which]) != 0)
        which++;
    if (which == 5)
        fail(config, 4, "CNI_COMMAND is '%s'", command);
    struct text missing = print("");
    for (size_t place = 0; place < 4; place++) {
        const char *name = NEEDED[SHOWN[place]];
        if (SHOWN[place] < NEEDS[which] && *variable(name) == 0) {
            append(&missing, ", ", missing.length > 0 ? 2 : 0);
            append(&missing, name, strlen(name));
        }
    }
    if (missing.length > 0)
        fail(config, 4, "not set, and %s needs it: %s", command, missing.bytes);
    const char *container = variable("CNI_CONTAINERID"), *interface = variable("CNI_IFNAME");
    size_t length = strlen(container);
    if (length > 0 && (strspn(container, LETTERS "_.-") < length || strspn(container, LETTERS) == 0 || length > LONGEST_ID))
        fail(config, 4, "CNI_CONTAINERID is '%s'", container);
    if (strchr(interface, '/') || strlen(interface) > LONGEST_NAME)
        fail(config, 4, "CNI_IFNAME is '%s'", interface);
    if (!is_object(config))
        fail(config, 6, "the network configuration is no JSON object");
    const char *version = field(config, "cniVersion", "0.1.0");
    if (!speaks(version))
        fail(config, 1, "CNI version '%s' is not supported", version);
}

static int send_all(int agent, const struct text *call, int ns)
{
    char room[CMSG_SPACE(sizeof ns)] = {0};
    struct iovec data = {call->bytes, call->length};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (ns >= 0) {
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof ns)};
        memcpy(CMSG_DATA(rights), &ns, sizeof ns);
    }
    ssize_t sent = sendmsg(agent, &message, MSG_NOSIGNAL);
    for (size_t at = sent < 0 ? 0 : (size_t)sent; sent >= 0 && at < call->length; at += (size_t)sent)
        sent = send(agent, call->bytes + at, call->length - at, MSG_NOSIGNAL);
    return sent < 0 || shutdown(agent, SHUT_WR) < 0 ? -1 : 0;
}

/* The agent's answer; empty where there is no agent, or where it broke off. */
static struct text ask(const char *path, const struct text *call, int ns)
{
    struct text answer = print("");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {SECONDS, 0};
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (agent < 0 || strlen(path) >= sizeof address.sun_path)
        return answer;
    memcpy(address.sun_path, path, strlen(path));
    setsockopt(agent, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(agent, (struct sockaddr *)&address, sizeof address) < 0 || send_all(agent, call, ns) < 0 ||
        read_all(agent, &answer) < 0)
        return print("");
    return answer;
}

/* Leave a DEL for the agent that comes back. */
static int bury(const char *spool, const char *container, const char *interface, const struct text *call)
{
    char *draft = print("%s/.%s@%s.%d", spool, container, interface, (int)getpid()).bytes;
    char *tombstone = print("%s/%s@%s", spool, container, interface).bytes;
    if (mkdir(spool, 0700) < 0 && errno != EEXIST)
        return -1;
    int file = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    if (write(file, call->bytes, call->length) == (ssize_t)call->length && fsync(file) == 0 &&
        rename(draft, tombstone) == 0)
        return 0;
    unlink(draft); /* a disk that is full; the runtime tries again */
    return -1;
}

static struct text call_of(const struct text *config)
{
    struct text block = print("");
    for (char **each = environ; *each != NULL; each++)
        if (strncmp(*each, "CNI_", 4) == 0)
            append(&block, *each, strlen(*each) + 1);
    struct text call = print("clew-cni 1 %zu\n", block.length);
    append(&call, block.bytes, block.length);
    append(&call, config->bytes, config->length);
    return call;
}

static void say_versions(const struct text *config)
{
    struct text versions = print("{\"cniVersion\":\"%s\",\"supportedVersions\":[", spoken(config));
    for (size_t place = 0; place < SPOKEN; place++) {
        struct text quoted = print("%s\"%s\"", place ? "," : "", SPEAKS[place]);
        append(&versions, quoted.bytes, quoted.length);
    }
    append(&versions, "]}", 2);
    say(versions.bytes, versions.length, 0);
}

int main(void)
{
    struct text config = print("");
    const char *command = variable("CNI_COMMAND"), *path = variable("CNI_NETNS");
    if (read_all(0, &config) < 0)
        fail(&config, 5, "the configuration cannot be read from standard input");
    if (strcmp(command, "VERSION") == 0)
        say_versions(&config);
    struct text call = call_of(&config);
    if (call.length > LARGEST && strcmp(command, "DEL") != 0)
        fail(&config, 7, "the network configuration is longer than %zu bytes", LARGEST - call.length + config.length);
    int ns = -1;
    if ((strcmp(command, "ADD") == 0 || strcmp(command, "CHECK") == 0) && *path != 0) {
        ns = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (ns < 0)
            fail(&config, 4, "CNI_NETNS is '%s': %s", path, strerror(errno));
    }
    const char *agent = field(&config, "agentSocket", "/run/clew/cni.sock");
    struct text answer = ask(agent, &call, ns);
    if (answer.length > 0)
        say(answer.bytes + 1, answer.length - 1, answer.bytes[0] - '0');
    judge(&config, command);
    if (strcmp(command, "DEL") == 0 && strcmp(field(&config, "type", ""), "loopback") == 0)
        say("", 0, 0); /* the namespace takes it along */
    if (strcmp(command, "DEL") == 0) {
        const char *spool = field(&config, "agentSpool", "/var/lib/clew-agent/spool");
        if (bury(spool, variable("CNI_CONTAINERID"), variable("CNI_IFNAME"), &call) < 0)
            fail(&config, 11, "the agent of this node does not answer, and its spool cannot be written");
        say("", 0, 0);
    }
    fail(&config, strcmp(command, "STATUS") == 0 ? 50 : 11, "the agent of this node does not answer at %s", agent);
}
