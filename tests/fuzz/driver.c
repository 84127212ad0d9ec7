/* A small coverage-guided fuzzer for compilers without libFuzzer; it takes libFuzzer's options.
 *
 *   target [-seed=N] [-max_total_time=SECONDS] [-max_len=BYTES] [-artifact_prefix=PATH] CORPUS
 *   target FILE...                      run each file once: the replay of a finding
 *
 * The target is compiled with -fsanitize-coverage=trace-pc and the sanitizers, this file without.
 * An input that reaches a new edge, or an old one in a new order of magnitude, joins the corpus in
 * memory and on disk. The sanitizers stop the process at the first fault; the input is then written
 * to <artifact_prefix>crash-<fingerprint>, or timeout-<fingerprint> if it ran for too long.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAP_SIZE 65536
#define CORPUS_MAX 4096
#define RUN_SECONDS_MAX 10

typedef struct {
    uint8_t *bytes;
    size_t size;
} input;

static uint8_t hits[MAP_SIZE]; /* of the run in progress, by edge */
static uint8_t seen[MAP_SIZE]; /* orders of magnitude of hits, one bit each, over all runs */
static uintptr_t previous;

static input corpus[CORPUS_MAX];
static size_t corpus_count;
static const char *corpus_folder;

static const input *running;
static uint64_t runs;
static const char *artifact_prefix = ""; /* NULL: findings are on disk already */
static uint64_t random_state;

const char *__asan_default_options(void) {
    return "handle_abort=1:detect_leaks=0:allocator_may_return_null=1";
}

const char *__ubsan_default_options(void) { return "print_stacktrace=1"; }

/* Called by the compiler's instrumentation at the head of every basic block. */
void __sanitizer_cov_trace_pc(void) {
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)LLVMFuzzerTestOneInput;
    uint32_t place = (uint32_t)here * 0x9e3779b1u >> 16;
    uint8_t *count = &hits[(place ^ previous >> 1) % MAP_SIZE];
    if (*count < 255) (*count)++;
    previous = place;
}

/* splitmix64 */
static uint64_t random_bits(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t random_below(size_t bound) { return bound ? random_bits() % bound : 0; }

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* FNV-1a: names files by their content. */
static uint64_t fingerprint(const input *in) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < in->size; i++) h = (h ^ in->bytes[i]) * 0x100000001b3u;
    return h;
}

/* Only calls that are safe in a signal handler after the name is made. */
static void save(const char *prefix, const char *kind, const input *in) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s%016llx", prefix, kind, (unsigned long long)fingerprint(in));
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t done = 0;
    while (file >= 0 && done < in->size) {
        ssize_t wrote = write(file, in->bytes + done, in->size - done);
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    if (file < 0 || done < in->size) perror(path);
    if (file >= 0) close(file);
    if (*kind) fprintf(stderr, "artifact: %s\n", path);
}

static void on_death(void) {
    if (running && artifact_prefix) save(artifact_prefix, "crash-", running);
}

/* Rings now and then: a run that was there at the last ring too hangs. */
static void on_alarm(int signal_number) {
    static uint64_t runs_at_last_ring;
    (void)signal_number;
    if (running && runs == runs_at_last_ring) {
        fprintf(stderr, "one run takes more than %d s\n", RUN_SECONDS_MAX);
        if (artifact_prefix) save(artifact_prefix, "timeout-", running);
        _exit(70);
    }
    runs_at_last_ring = runs;
    alarm(RUN_SECONDS_MAX);
}

/* The copy has no byte to spare, so that reading past the end is seen. */
static void run(const input *in) {
    uint8_t *exact = malloc(in->size);
    if (in->size) memcpy(exact, in->bytes, in->size);
    memset(hits, 0, sizeof hits);
    previous = 0;
    running = in;
    runs++;
    LLVMFuzzerTestOneInput(exact, in->size);
    running = NULL;
    free(exact);
}

/* Whether the last run reached something new; remembers it. */
static int reached_new(void) {
    int found = 0;
    for (size_t i = 0; i < MAP_SIZE; i += 8) {
        uint64_t eight;
        memcpy(&eight, hits + i, 8);
        if (!eight) continue;
        for (size_t k = i; k < i + 8; k++) {
            if (!hits[k]) continue;
            uint8_t magnitude = (uint8_t)(1u << (31 - __builtin_clz(hits[k])));
            if (!(seen[k] & magnitude)) found = 1;
            seen[k] |= magnitude;
        }
    }
    return found;
}

static void keep(const input *in) {
    input *slot = &corpus[corpus_count < CORPUS_MAX ? corpus_count++ : random_below(CORPUS_MAX)];
    free(slot->bytes);
    slot->size = in->size;
    slot->bytes = malloc(in->size + 1);
    if (in->size) memcpy(slot->bytes, in->bytes, in->size);
}

/* Read at most size_max bytes. 0 if the file cannot be read. */
static int load(const char *path, input *in, size_t size_max) {
    struct stat facts;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &facts) || !S_ISREG(facts.st_mode)) {
        if (file) fclose(file);
        return 0;
    }
    in->size = (size_t)facts.st_size < size_max ? (size_t)facts.st_size : size_max;
    in->bytes = malloc(in->size + 1);
    in->size = fread(in->bytes, 1, in->size, file);
    fclose(file);
    return 1;
}

static void load_corpus(size_t size_max) {
    struct dirent **names;
    int count = scandir(corpus_folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        input in;
        snprintf(path, sizeof path, "%s/%s", corpus_folder, names[i]->d_name);
        if (load(path, &in, size_max)) {
            run(&in);
            if (reached_new()) keep(&in);
            free(in.bytes);
        }
        free(names[i]);
    }
    if (count >= 0) free(names);
}

/* Sizes at which records, keys, signatures and hash blocks begin and end. */
static const uint16_t magic_sizes[] = {0,   1,   2,   4,   8,   16,  20,  31,   32,   33,   63,
                                       64,  65,  96,  111, 112, 113, 127, 128,  129,  175,  176,
                                       177, 255, 256, 352, 511, 512, 528, 1023, 1024, 1025, 2048};

static const uint64_t magic_values[] = {
    0,          1,          0x7f,       0x80,   0xff,    0x7fff,     0xffff,
    0x7fffffff, 0xffffffff, UINT64_MAX, 0x8000, 0x10000, 0x80000000, (uint64_t)1 << 63};

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* New bytes in a gap are random or copies of what is there. */
static void resize(input *in, size_t size) {
    for (size_t i = in->size; i < size; i++)
        in->bytes[i] = i && random_below(2) ? in->bytes[random_below(i)] : (uint8_t)random_bits();
    in->size = size;
}

static void mutate(input *in, size_t size_max) {
    size_t at = random_below(in->size), room = size_max - in->size;
    switch (random_below(8)) {
    case 0: /* flip a bit */
        if (in->size) in->bytes[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1: /* set a byte */
        if (in->size) in->bytes[at] = (uint8_t)random_bits();
        break;
    case 2: { /* set 1, 2, 4 or 8 bytes to an edge of their range, little or big end first */
        size_t width = (size_t)1 << random_below(4);
        uint64_t value = magic_values[random_below(COUNT(magic_values))];
        if (random_below(2)) value = __builtin_bswap64(value) >> (64 - 8 * width);
        if (at + width <= in->size) memcpy(in->bytes + at, &value, width);
        break;
    }
    case 3: { /* insert bytes */
        size_t count = 1 + random_below(room < 16 ? room : 16);
        if (count > room) break;
        memmove(in->bytes + at + count, in->bytes + at, in->size - at);
        for (size_t i = 0; i < count; i++) in->bytes[at + i] = (uint8_t)random_bits();
        in->size += count;
        break;
    }
    case 4: { /* delete bytes */
        size_t count = random_below(in->size - at < 32 ? in->size - at + 1 : 33);
        memmove(in->bytes + at, in->bytes + at + count, in->size - at - count);
        in->size -= count;
        break;
    }
    case 5: { /* splice: continue as another input does */
        const input *other = &corpus[random_below(corpus_count)];
        size_t from = random_below(other->size), count = other->size - from;
        if (count > size_max - at) count = size_max - at;
        if (count) memcpy(in->bytes + at, other->bytes + from, count);
        if (at + count > in->size || random_below(2)) in->size = at + count;
        break;
    }
    case 6: { /* copy a piece of itself elsewhere */
        size_t from = random_below(in->size), longest = in->size - (from > at ? from : at);
        if (in->size) memmove(in->bytes + at, in->bytes + from, random_below(longest + 1));
        break;
    }
    default: { /* cut or grow to a telling size */
        size_t size = magic_sizes[random_below(COUNT(magic_sizes))];
        resize(in, size < size_max ? size : size_max);
    }
    }
}

static void fuzz(double seconds, size_t size_max) {
    input empty = {NULL, 0}, work = {malloc(size_max + 1), 0};
    load_corpus(size_max);
    run(&empty);
    if (reached_new() || !corpus_count) keep(&empty);
    double end = seconds_now() + seconds;
    while (seconds_now() < end) {
        const input *parent = &corpus[random_below(corpus_count)];
        work.size = parent->size;
        if (work.size) memcpy(work.bytes, parent->bytes, work.size);
        for (size_t left = (size_t)1 << random_below(4); left; left--) mutate(&work, size_max);
        run(&work);
        if (!reached_new()) continue;
        keep(&work);
        char prefix[4096];
        snprintf(prefix, sizeof prefix, "%s/", corpus_folder);
        save(prefix, "", &work);
    }
    free(work.bytes);
}

static int replay(char **paths, int count) {
    for (int i = 0; i < count; i++) {
        input in;
        if (!load(paths[i], &in, SIZE_MAX)) {
            fprintf(stderr, "cannot read %s\n", paths[i]);
            return 2;
        }
        run(&in);
        free(in.bytes);
        printf("passed: %s\n", paths[i]);
    }
    return 0;
}

int main(int argc, char **argv) {
    double seconds = 10;
    size_t size_max = 4096;
    int first = 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        const char *value = strchr(argv[first], '=');
        if (!value++) continue;
        if (!strncmp(argv[first], "-seed=", 6)) random_state = strtoull(value, NULL, 10);
        if (!strncmp(argv[first], "-max_total_time=", 16)) seconds = strtod(value, NULL);
        if (!strncmp(argv[first], "-max_len=", 9)) size_max = strtoul(value, NULL, 10);
        if (!strncmp(argv[first], "-artifact_prefix=", 17)) artifact_prefix = value;
    }
    struct stat facts;
    if (first == argc || stat(argv[first], &facts)) {
        fprintf(stderr, "give a corpus folder, or the files to replay\n");
        return 2;
    }
    __sanitizer_set_death_callback(on_death);
    signal(SIGALRM, on_alarm);
    alarm(RUN_SECONDS_MAX);
    if (!S_ISDIR(facts.st_mode)) {
        artifact_prefix = NULL;
        return replay(argv + first, argc - first);
    }
    corpus_folder = argv[first];
    fuzz(seconds, size_max);
    fprintf(stderr, "stat::number_of_executed_units: %llu\n", (unsigned long long)runs);
    return 0;
}
