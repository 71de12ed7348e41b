/* Where some bytes stand in files, and which numbers lines have, by several threads at memory's speed.
 *
 * For the two steps of a session's search: the first reads everything for an id that stands in few
 * lines, the second reads the numbers of all lines of some processes. cordboard.logs.search does
 * without this module where it was not compiled, and wherever a range is not plainly what it can
 * answer for: it returns None for those.
 *
 * Files are mapped: to copy them takes as long as to search them. One that is cut meanwhile raises
 * SIGBUS where it ended; zeros are put there, and the range is in doubt (as libwayland does it for a
 * client's memory, wayland-shm.c).
 *
 * The search compares two of the needle's bytes, those that are rare in what is read, at sixteen places
 * at once ("packed pair": Wojciech Mula, "SIMD-friendly algorithms for substring searching"; Rust's
 * memchr crate).
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    LOT_BYTES = 16 << 20, /* what a thread takes and maps at once */
    PART_BYTES = 1 << 20, /* what it searches until it looks whether it is wanted any longer */
    NEEDLE_MAX = 1024,
    SAMPLE_BYTES = 4096,
    STRIDE_BYTES = 64,
    HITS_MAX = 1 << 20,
    HANDS_MAX = 8,
    BOOT_BYTES = 8,
    SEQ_DIGITS_MAX = 18,
    KEY_BYTES = 27,
    PROBE_BYTES = 4 << 10,
};

static const char LOG[] = "\"log\":";
static const char START[] = "{\"timestamp\":\"";
static const char BOOT[] = "\"boot\":\"";
static const char SEQ[] = "\",\"seq\":";

typedef struct {
    int fd;
    int64_t begin, end;
    int64_t first_lot;
    _Atomic char doubtful; /* it was cut while it was read, or holds lines in pieces */
} Range;

/* Where the needle stands; or numbers of a process, from the first to the last one. */
typedef struct {
    Py_ssize_t range;
    Py_ssize_t boot;
    int64_t first, last;
} Hit;

typedef struct {
    Range *ranges;
    Py_ssize_t count;
    int64_t lots;
    const char *needle;
    size_t size;
    const char *boots; /* whose numbers are wanted, one behind the other; NULL where places are */
    Py_ssize_t boot_count;
    int64_t behind; /* how many bytes behind the needle matter */
    _Atomic int64_t next;
    _Atomic int64_t read;
    _Atomic int stopped;
} Work;

typedef struct {
    Work *work;
    Hit *hits;
    size_t count, room;
    size_t one, other; /* places of the needle's two bytes that are compared */
    int chosen;
    int failed;
    PyThreadState **released; /* the calling thread's, which tells of progress; NULL in all others */
    PyObject *progress;
    int64_t told;
} Hand;

/* Chooses the two bytes of the needle that are rarest in a sample. */
static void
choose(Hand *hand, const char *data, size_t size)
{
    const char *needle = hand->work->needle;
    unsigned counts[256] = {0};
    for (size_t n = 0; n < size && n < SAMPLE_BYTES; n++)
        counts[(unsigned char)data[n]]++;
    size_t one = 0, other = hand->work->size - 1;
    for (size_t n = 0; n < hand->work->size; n++)
        if (counts[(unsigned char)needle[n]] < counts[(unsigned char)needle[one]])
            one = n;
    if (other == one)
        other = 0;
    for (size_t n = 0; n < hand->work->size; n++)
        if (n != one && counts[(unsigned char)needle[n]] < counts[(unsigned char)needle[other]])
            other = n;
    hand->one = one;
    hand->other = other;
    hand->chosen = 1;
}

/* Returns where the needle stands, from `at` on, ending before `end`; NULL where it does not. */
static const char *
seek(const Hand *hand, const char *at, const char *end)
{
    const char *needle = hand->work->needle;
    const size_t size = hand->work->size;
#ifdef __SSE2__
    const __m128i one = _mm_set1_epi8(needle[hand->one]);
    const __m128i other = _mm_set1_epi8(needle[hand->other]);
#define AT(from, place, byte) _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)((from) + (place))), byte)
#define BOTH(from) _mm_and_si128(AT(from, hand->one, one), AT(from, hand->other, other))
    for (; end - at >= (ptrdiff_t)(STRIDE_BYTES + size); at += STRIDE_BYTES) {
        __m128i found = _mm_or_si128(_mm_or_si128(BOTH(at), BOTH(at + 16)),
                                     _mm_or_si128(BOTH(at + 32), BOTH(at + 48)));
        if (_mm_movemask_epi8(found) == 0)
            continue;
        for (int step = 0; step < STRIDE_BYTES; step += 16) {
            unsigned places = (unsigned)_mm_movemask_epi8(BOTH(at + step));
            for (; places; places &= places - 1) {
                const char *place = at + step + __builtin_ctz(places);
                if (memcmp(place, needle, size) == 0)
                    return place;
            }
        }
    }
#endif
    return at < end ? memmem(at, (size_t)(end - at), needle, size) : NULL;
}

/* Whether another program wrapped this line: it may be a piece of one, or hold one in other words.
 * A JSON object with one of these keys is a container runtime's or an agent's; `boot` matters for
 * numbers alone, which an agent may have put in another order. */
static int
is_wrapped(const char *line, const char *end, int by_number)
{
    if (line >= end || (*line >= '0' && *line <= '9'))
        return line < end;
    size_t size = (size_t)(end - line);
    if (size >= sizeof(START) - 1 && memcmp(line, START, sizeof(START) - 1) == 0)
        return 0;
    const char *newline = memchr(line, '\n', size);
    size = newline ? (size_t)(newline - line) : size;
    return (*line == '{' && memmem(line, size, LOG, sizeof(LOG) - 1) != NULL) ||
           (by_number && memmem(line, size, "boot", 4) != NULL);
}

/* Whether the first line is so that begins here. */
static int
is_doubtful(const char *data, const char *end, int at_line, int by_number)
{
    const char *before = memchr(data, '\n', (size_t)(end - data));
    return (at_line && is_wrapped(data, end, by_number)) ||
           (before != NULL && is_wrapped(before + 1, end, by_number));
}

static int
note(Hand *hand, Hit hit)
{
    if (hand->count == hand->room) {
        size_t room = hand->room ? hand->room * 2 : 256;
        Hit *hits = room > HITS_MAX ? NULL : realloc(hand->hits, room * sizeof(Hit));
        if (hits == NULL)
            return 0;
        hand->hits = hits;
        hand->room = room;
    }
    hand->hits[hand->count++] = hit;
    return 1;
}

/* Notes the number behind `"boot":"`, if it is a wanted process's: `BOOT","seq":NUMBER}`. */
static int
note_number(Hand *hand, Py_ssize_t range, const char *at, const char *end)
{
    const Work *work = hand->work;
    Py_ssize_t boot = 0;
    if (end - at < BOOT_BYTES + (ptrdiff_t)sizeof(SEQ))
        return 1;
    while (boot < work->boot_count && memcmp(at, work->boots + boot * BOOT_BYTES, BOOT_BYTES) != 0)
        boot++;
    at += BOOT_BYTES;
    if (boot == work->boot_count || memcmp(at, SEQ, sizeof(SEQ) - 1) != 0)
        return 1;
    at += sizeof(SEQ) - 1;
    int64_t number = 0;
    int digits = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        if (++digits <= SEQ_DIGITS_MAX)
            number = number * 10 + (*at - '0');
    if (digits == 0 || digits > SEQ_DIGITS_MAX || at == end || *at != '}')
        return 1;
    /* Of several processes that speak in turns, each goes on where it was some runs ago. */
    for (size_t back = 1; back <= hand->count && back <= (size_t)work->boot_count; back++) {
        Hit *known = &hand->hits[hand->count - back];
        if (known->range != range)
            break;
        if (known->boot == boot && known->last + 1 == number) {
            known->last = number;
            return 1;
        }
    }
    return note(hand, (Hit){range, boot, number, number});
}

/* --- files that are cut while they are mapped */

static _Thread_local volatile struct {
    char *begin;
    size_t size;
    int cut;
} mapped;

static struct sigaction before;
static int busy;

static void
put_zeros(int number, siginfo_t *info, void *context)
{
    char *at = info->si_addr;
    if (mapped.begin != NULL && at >= mapped.begin && at < mapped.begin + mapped.size &&
        mmap(mapped.begin, mapped.size, PROT_READ, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) !=
            MAP_FAILED) {
        mapped.cut = 1;
        return;
    }
    sigaction(number, &before, NULL); /* not ours: it comes again, to whoever it is for */
}

/* --- searching */

static int
search_part(Hand *hand, Py_ssize_t number, const char *at, const char *stop, const char *end,
            int64_t offset)
{
    const Work *work = hand->work;
    const char *begin = at;
    const char *most = stop + work->size - 1; /* what begins before `stop` ends before this */
    if (is_doubtful(at, stop, offset == work->ranges[number].begin, work->boots != NULL))
        return 0;
    for (; (at = seek(hand, at, most < end ? most : end)) != NULL; at++)
        if (!(work->boots ? note_number(hand, number, at + work->size, end)
                          : note(hand, (Hit){number, 0, offset + (at - begin), 0})))
            return 0;
    return 1;
}

static int
search_mapped(Hand *hand, Py_ssize_t number, int64_t begin, int64_t stop, const char *data,
              const char *end)
{
    if (!hand->chosen)
        choose(hand, data, (size_t)(end - data));
    for (int64_t at = begin; at < stop; at += PART_BYTES) {
        int64_t to = at + PART_BYTES < stop ? at + PART_BYTES : stop;
        if (hand->work->stopped || hand->work->ranges[number].doubtful)
            return 1;
        if (!search_part(hand, number, data + (at - begin), data + (to - begin), end, at) ||
            mapped.cut)
            return 0;
    }
    return 1;
}

/* Searches what begins in a lot; 0 where it is in doubt. */
static int
search_lot(Hand *hand, Py_ssize_t number, int64_t begin, int64_t stop)
{
    Range *range = &hand->work->ranges[number];
    int64_t page = begin & ~((int64_t)sysconf(_SC_PAGESIZE) - 1);
    int64_t end = stop + (int64_t)hand->work->size + hand->work->behind;
    end = end < range->end ? end : range->end;
    size_t size = (size_t)(end - page);
    char *data = mmap(NULL, size, PROT_READ, MAP_SHARED, range->fd, page);
    if (data == MAP_FAILED)
        return 0;
    mapped.cut = 0;
    mapped.size = size;
    mapped.begin = data;
    atomic_signal_fence(memory_order_seq_cst);
    int done = search_mapped(hand, number, begin, stop, data + (begin - page), data + size);
    atomic_signal_fence(memory_order_seq_cst);
    mapped.begin = NULL;
    munmap(data, size);
    return done && !mapped.cut;
}

/* Tells of progress, and sees whether somebody wants all of it to stop; in the calling thread alone. */
static void
tell(Hand *hand)
{
    if (hand->released == NULL)
        return;
    PyEval_RestoreThread(*hand->released);
    int64_t read = atomic_load(&hand->work->read);
    PyObject *done = hand->progress == Py_None
                         ? Py_NewRef(Py_None)
                         : PyObject_CallFunction(hand->progress, "L", (long long)(read - hand->told));
    hand->told = read;
    if (done == NULL || PyErr_CheckSignals() < 0) {
        hand->failed = 1;
        atomic_store(&hand->work->stopped, 1);
    }
    Py_XDECREF(done);
    *hand->released = PyEval_SaveThread();
}

static void *
search_lots(void *given)
{
    Hand *hand = given;
    Work *work = hand->work;
    Py_ssize_t number = 0;
    for (int64_t lot; (lot = atomic_fetch_add(&work->next, 1)) < work->lots;) {
        while (number + 1 < work->count && work->ranges[number + 1].first_lot <= lot)
            number++;
        Range *range = &work->ranges[number];
        int64_t begin = range->begin + (lot - range->first_lot) * LOT_BYTES;
        int64_t stop = begin + LOT_BYTES < range->end ? begin + LOT_BYTES : range->end;
        if (!range->doubtful && !search_lot(hand, number, begin, stop))
            range->doubtful = 1;
        atomic_fetch_add(&work->read, stop - begin);
        tell(hand);
        if (work->stopped)
            break;
    }
    return NULL;
}

static PyObject *
value_of(const Work *work, const Hit *hit)
{
    if (work->boots == NULL)
        return PyLong_FromLongLong((long long)hit->first);
    return Py_BuildValue("y#(LL)", work->boots + hit->boot * BOOT_BYTES, (Py_ssize_t)BOOT_BYTES,
                         (long long)hit->first, (long long)hit->last);
}

/* For each range what was found in it, in order; None where it is in doubt. */
static PyObject *
found_of(const Work *work, Hand *hands, int count)
{
    PyObject *found = PyList_New(work->count);
    for (Py_ssize_t n = 0; found != NULL && n < work->count; n++) {
        PyObject *values = work->ranges[n].doubtful ? Py_NewRef(Py_None) : PyList_New(0);
        if (values == NULL || PyList_SetItem(found, n, values) < 0)
            Py_CLEAR(found);
    }
    for (int h = 0; found != NULL && h < count; h++)
        for (size_t n = 0; found != NULL && n < hands[h].count; n++) {
            PyObject *values = PyList_GetItem(found, hands[h].hits[n].range);
            if (values == Py_None)
                continue;
            PyObject *value = value_of(work, &hands[h].hits[n]);
            if (value == NULL || PyList_Append(values, value) < 0)
                Py_CLEAR(found);
            Py_XDECREF(value);
        }
    for (Py_ssize_t n = 0; found != NULL && n < work->count; n++) {
        PyObject *values = PyList_GetItem(found, n);
        if (values != Py_None && PyList_Sort(values) < 0)
            Py_CLEAR(found);
    }
    return found;
}

static PyObject *
run(Work *work, int count, PyObject *progress)
{
    Hand hands[HANDS_MAX] = {0};
    pthread_t threads[HANDS_MAX];
    int begun = 0;
    struct sigaction ours = {.sa_sigaction = put_zeros, .sa_flags = SA_SIGINFO | SA_NODEFER};
    for (int n = 0; n < count; n++) {
        hands[n].work = work;
        hands[n].progress = progress;
    }
    busy = 1;
    sigaction(SIGBUS, &ours, &before);
    PyThreadState *released = PyEval_SaveThread();
    while (begun + 1 < count &&
           pthread_create(&threads[begun], NULL, search_lots, &hands[begun + 1]) == 0)
        begun++; /* those that are there do it all */
    hands[0].released = &released;
    search_lots(&hands[0]);
    for (int n = 0; n < begun; n++)
        pthread_join(threads[n], NULL);
    for (Py_ssize_t n = 0; n < work->count; n++) {
        /* Behind the end of a file, but on its last page, are zeros, and no signal comes. */
        struct stat status;
        if (fstat(work->ranges[n].fd, &status) != 0 || status.st_size < work->ranges[n].end)
            work->ranges[n].doubtful = 1;
    }
    if (!hands[0].failed)
        tell(&hands[0]);
    PyEval_RestoreThread(released);
    sigaction(SIGBUS, &before, NULL);
    busy = 0;
    PyObject *found = hands[0].failed ? NULL : found_of(work, hands, count);
    for (int n = 0; n < count; n++)
        free(hands[n].hits);
    return found;
}

PyDoc_STRVAR(places_doc,
"places(ranges, needle, hands, progress)\n--\n\n"
"Return, for each range of a file, where some bytes begin in it, in order; None where that is in doubt.\n\n"
"In doubt are a range that could not be read whole, one with very many places, and one whose lines\n"
"another program wrapped: they may be in pieces.\n\n"
"Args:\n"
"    ranges: Of each its file's descriptor, its first byte, and the first one behind it.\n"
"    needle: The bytes; 2 to 1024.\n"
"    hands: How many threads do it, at most 8.\n"
"    progress: Is told of bytes that were read; or None. What it raises ends the search.");

static PyObject *
found_in(Work *work, PyObject *ranges, int hands, PyObject *progress)
{
    if (work->size < 2 || work->size > NEEDLE_MAX || hands < 1 || hands > HANDS_MAX) {
        PyErr_SetString(PyExc_ValueError, "2 to 1024 bytes, and 1 to 8 hands are wanted");
        return NULL;
    }
    work->count = PyList_Size(ranges);
    work->ranges = calloc((size_t)work->count + 1, sizeof(Range));
    if (work->ranges == NULL)
        return PyErr_NoMemory();
    PyObject *found = NULL;
    for (Py_ssize_t n = 0; n < work->count; n++) {
        Range *range = &work->ranges[n];
        long long begin, end;
        if (!PyArg_ParseTuple(PyList_GetItem(ranges, n), "iLL", &range->fd, &begin, &end))
            goto end;
        range->begin = begin;
        range->end = end > begin ? end : begin;
        range->first_lot = work->lots;
        range->doubtful = (char)busy; /* another thread's search has the signal */
        work->lots += (range->end - range->begin + LOT_BYTES - 1) / LOT_BYTES;
    }
    found = busy ? found_of(work, NULL, 0) : run(work, hands, progress);
end:
    free(work->ranges);
    return found;
}

static PyObject *
places(PyObject *module, PyObject *args)
{
    PyObject *ranges, *progress;
    Work work = {0};
    Py_ssize_t size;
    int hands;
    if (!PyArg_ParseTuple(args, "O!y#iO:places", &PyList_Type, &ranges, &work.needle, &size, &hands,
                          &progress))
        return NULL;
    work.size = (size_t)size;
    return found_in(&work, ranges, hands, progress);
}

PyDoc_STRVAR(numbers_doc,
"numbers(ranges, boots, hands, progress)\n--\n\n"
"Return, for each range of a file, the numbers of the lines of some processes as pairs of a boot and a\n"
"run of numbers (the first and the last of them), in order; None where that is in doubt, as `places`.\n\n"
"Args:\n"
"    ranges: Of each its file's descriptor, its first byte, and the first one behind it.\n"
"    boots: The processes' boots, of 8 bytes each, one behind the other.\n"
"    hands: How many threads do it, at most 8.\n"
"    progress: Is told of bytes that were read; or None. What it raises ends the search.");

static PyObject *
numbers(PyObject *module, PyObject *args)
{
    PyObject *ranges, *progress;
    Work work = {.needle = BOOT, .size = sizeof(BOOT) - 1};
    Py_ssize_t size;
    int hands;
    if (!PyArg_ParseTuple(args, "O!y#iO:numbers", &PyList_Type, &ranges, &work.boots, &size, &hands,
                          &progress))
        return NULL;
    work.boot_count = size / BOOT_BYTES;
    work.behind = BOOT_BYTES + sizeof(SEQ) + SEQ_DIGITS_MAX;
    return found_in(&work, ranges, hands, progress);
}

/* --- one place of a file */

/* As own_key() in stamps.py. */
static int
is_key(const char *at)
{
    for (int n = 0; n < 4; n++)
        if (at[n] < '0' || at[n] > '9')
            return 0;
    return at[10] == 'T' && at[19] == '.' && at[KEY_BYTES - 1] == 'Z';
}

PyDoc_STRVAR(key_behind_doc,
"key_behind(fd, offset, limit)\n--\n\n"
"Return the time of the first whole line behind an offset; None where it is none of ours, or far off.");

static PyObject *
key_behind(PyObject *module, PyObject *args)
{
    char data[PROBE_BYTES];
    int fd;
    long long offset, limit;
    if (!PyArg_ParseTuple(args, "iLL:key_behind", &fd, &offset, &limit))
        return NULL;
    ssize_t size = limit - offset < PROBE_BYTES ? (ssize_t)(limit - offset) : PROBE_BYTES;
    if (size <= 0 || pread(fd, data, (size_t)size, offset) != size)
        Py_RETURN_NONE;
    const char *line = data, *end = data + size;
    if (offset > 0 && (line = memchr(data, '\n', (size_t)(end - data))) != NULL)
        line++;
    const char *key = line == NULL ? NULL : line + sizeof(START) - 1;
    if (key == NULL || end - key <= KEY_BYTES || memcmp(line, START, sizeof(START) - 1) != 0 ||
        key[KEY_BYTES] != '"' || !is_key(key) || memchr(key, '\n', (size_t)(end - key)) == NULL)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(key, KEY_BYTES);
}

static PyMethodDef functions[] = {
    {"places", places, METH_VARARGS, places_doc},
    {"numbers", numbers, METH_VARARGS, numbers_doc},
    {"key_behind", key_behind, METH_VARARGS, key_behind_doc},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cordboard.logs._search",
    .m_doc = "Where some bytes stand in files, and which numbers lines have.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__search(void)
{
    return PyModule_Create(&definition);
}
