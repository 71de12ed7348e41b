/* The inner loop of cordboard.logs again, in C: what survey.py does for a block of lines in Python.
 *
 * `survey` looks once at a block, and notes the lines that are plainly ours as places in memory; whatever is in
 * doubt is left to Python, which makes entries of it. `ordered` sorts both, `merged` joins those of several
 * blocks. `numbers` reads the numbers of any lines. Without this module (no compiler where it was installed)
 * survey.py does all of it. `passed` skips the bytes of a file that cannot matter; without it, Python reads them too.
 *
 * Times are checked to the digit, so that their order as numbers is their order as bytes.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LITERAL(text) text, sizeof(text) - 1

/* {"timestamp":"2026-11-23T10:11:12.123456Z", */
static const char START[] = "{\"timestamp\":\"2";
static const char ERROR[] = "\"level\":\"error\"";
static const char SERVICE[] = "\"service\":\"";
static const char SESSION[] = "\"sessionId\":\"";
static const char SERVER[] = "server:";
static const char RAW[] = ",\"raw\":true";
static const char RAW_CUT[] = ",\"raw\":true,\"truncated\":true";
static const char BOOT[] = ",\"boot\":\"";
static const char SEQ[] = "\",\"seq\":";

enum {
    KEY_AT = sizeof(START) - 2,
    KEY_BYTES = 27,
    MINUTE_BYTES = 17, /* 2026-11-23T10:11: */
    BOOT_BYTES = 8,
    SEQ_DIGITS_MAX = 18,
    LINE_MIN = KEY_AT + KEY_BYTES + 2,
    TAIL_MAX = 64, /* boot and seq stand within so many bytes */
    TAIL_HEAD = sizeof(BOOT) - 1 + BOOT_BYTES + sizeof(SEQ) - 1,
    BOOTS_MAX = 256, /* a runner's file has the lines of each of its bots */
    SIZE_BITS = 30,
    SAME_MOMENT_MAX = 64, /* lines of one moment that are compared with each other */
    DIGIT_BITS = 11,
    INSERTED_MAX = 32,
};

enum { OTHER = 1, ABSENT = 2 }; /* not plainly ours; it knows no session */

typedef struct {
    uint64_t key; /* microseconds since 0000-03-01 */
    const char *at;
    uint32_t size;   /* without the newline */
    uint32_t kind;   /* OTHER, ABSENT or neither */
    uint32_t stream; /* which one it is of */
    uint32_t block;  /* in which block it stands */
    uint32_t number; /* of others: as which of its block's */
} Line;

/* Lines that stand together and are not plainly ours, and how many of ours stand before them. */
typedef struct {
    const char *begin, *end;
    size_t before;
} Stretch;

typedef struct {
    int64_t first, last;
} Run;

typedef struct {
    char boot[BOOT_BYTES];
    Run *runs;
    size_t count, room;
} Boot;

/* A line as survey.py keeps it, four words each; a place in the bytes that hold it. */
typedef struct {
    uint64_t key;
    uint32_t begin; /* of others, their number */
    uint32_t size;  /* its two highest bits are the kind */
} Place;

/* Returns an array with room for one more item; NULL where memory is out, and the array stays as it was. */
static void *
grown(void *items, size_t count, size_t *room, size_t item_size)
{
    if (count < *room)
        return items;
    size_t more = *room ? *room * 2 : 16;
    void *found = realloc(items, more * item_size);
    if (found != NULL)
        *room = more;
    return found;
}

/* --- times */

static int
two(const char *at)
{
    unsigned tens = (unsigned char)at[0] - '0', ones = (unsigned char)at[1] - '0';
    return tens > 9 || ones > 9 ? -1 : (int)(tens * 10 + ones);
}

/* The minute of a key as minutes since 0000-03-01; -1 where it is none.
 * Days: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil. */
static int64_t
minute_of(const char *key)
{
    static const int days_in[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = two(key), rest = two(key + 2), month = two(key + 5), day = two(key + 8);
    int hour = two(key + 11), minute = two(key + 14);
    if ((century | rest | month | day | hour | minute) < 0 || key[4] != '-' || key[7] != '-' ||
        key[10] != 'T' || key[13] != ':' || key[16] != ':' || hour > 23 || minute > 59 ||
        month < 1 || month > 12 || day < 1 || day > days_in[month - 1])
        return -1;
    int year = century * 100 + rest;
    if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
        return -1;
    int y = year - (month <= 2);
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t days = (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + of_year;
    return (days * 24 + hour) * 60 + minute;
}

/* The seconds' part of a key, "12.123456Z", in microseconds; -1 where it is none. */
static int64_t
micros_of(const char *at)
{
    int second = two(at), a = two(at + 3), b = two(at + 5), c = two(at + 7);
    if ((second | a | b | c) < 0 || second > 59 || at[2] != '.' || at[9] != 'Z')
        return -1;
    return second * 1000000LL + a * 10000 + b * 100 + c;
}

/* --- order */

static void
insert_sorted(Line *lines, size_t count)
{
    for (size_t n = 1; n < count; n++) {
        Line line = lines[n];
        size_t to = n;
        for (; to > 0 && lines[to - 1].key > line.key; to--)
            lines[to] = lines[to - 1];
        lines[to] = line;
    }
}

/* Sorts by the time, and leaves those of one moment as they stand: by digits, from the last one on.
 * Returns -1 where memory is out. */
static int
sort(Line *lines, size_t count)
{
    uint64_t least = UINT64_MAX, most = 0;
    int ordered = 1;
    for (size_t n = 0; n < count; n++) {
        uint64_t key = lines[n].key;
        ordered &= key >= most;
        most = key > most ? key : most;
        least = key < least ? key : least;
    }
    if (ordered)
        return 0;
    if (count <= INSERTED_MAX) {
        insert_sorted(lines, count);
        return 0;
    }
    Line *other = malloc(count * sizeof(Line));
    if (other == NULL)
        return -1;
    Line *from = lines, *to = other;
    for (int shift = 0; (most - least) >> shift; shift += DIGIT_BITS) {
        size_t places[1 << DIGIT_BITS] = {0};
        const uint64_t mask = (1 << DIGIT_BITS) - 1;
        for (size_t n = 0; n < count; n++)
            places[(from[n].key - least) >> shift & mask]++;
        size_t sum = 0;
        for (size_t digit = 0; digit <= mask; digit++) {
            size_t here = places[digit];
            places[digit] = sum;
            sum += here;
        }
        for (size_t n = 0; n < count; n++)
            to[places[(from[n].key - least) >> shift & mask]++] = from[n];
        Line *swapped = from;
        from = to;
        to = swapped;
    }
    if (from != lines)
        memcpy(lines, from, count * sizeof(Line));
    free(other);
    return 0;
}

/* What makes a line the same as another: boot and seq at the end of its first line, or all of it. As mark_of()
 * in survey.py. */
typedef struct {
    const char *at;
    size_t size;
    int numbered;
} Mark;

static Mark
mark_of(const Line *line)
{
    const char *newline = line->kind == OTHER ? memchr(line->at, '\n', line->size) : NULL;
    const char *end = newline ? newline : line->at + line->size;
    if (end > line->at && end[-1] == '}') {
        const char *from = end - line->at > TAIL_MAX ? end - TAIL_MAX : line->at;
        for (const char *at = end - sizeof(BOOT); at >= from; at--)
            if (memcmp(at, LITERAL(BOOT)) == 0)
                return (Mark){at, (size_t)(end - at), 1};
    }
    return (Mark){line->at, line->size, 0};
}

/* Whether it is JSON without an end: perhaps the beginning of a line in another stream. */
static int
is_cut(const Line *line)
{
    return line->size > 0 && line->at[0] == '{' && line->at[line->size - 1] != '}';
}

/* Whether one may be a copy of the other. As _distinct() in merge.py, which decides. */
static int
is_copy(const Line *one, const Line *other)
{
    Mark mark = mark_of(one), same = mark_of(other);
    int across = one->stream != other->stream;
    return (across && (is_cut(one) || is_cut(other))) ||
           ((across || mark.numbered) && mark.size == same.size &&
            memcmp(mark.at, same.at, mark.size) == 0);
}

/* Whether none of the lines is a copy of another of the same moment. */
static int
are_distinct(const Line *lines, size_t count)
{
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && lines[end].key == lines[begin].key; end++) {
            if (end - begin >= SAME_MOMENT_MAX)
                return 0;
            for (size_t n = begin; n < end; n++)
                if (is_copy(&lines[n], &lines[end]))
                    return 0;
        }
    }
    return 1;
}

/* --- one look at a block */

typedef struct {
    Line *lines; /* plainly ours */
    size_t count, room;
    Stretch *stretches; /* of others */
    size_t stretch_count, stretch_room;
    Line *left; /* they say their boot elsewhere than at their end */
    size_t left_count, left_room;
    const char *minute_text; /* of the line before */
    int64_t minute;
    const char *service;
    size_t service_size;
    int summed; /* all of ours are the service's, and none has its session from its process */
    Boot boots[BOOTS_MAX];
    size_t boot_count;
    Boot *boot; /* of the line before */
} Look;

static int
note_number(Look *look, const char *boot, int64_t seq)
{
    Boot *found = look->boot;
    if (found == NULL || memcmp(found->boot, boot, BOOT_BYTES) != 0) {
        for (found = look->boots; found < look->boots + look->boot_count; found++)
            if (memcmp(found->boot, boot, BOOT_BYTES) == 0)
                break;
        if (found == look->boots + BOOTS_MAX)
            return 0;
        if (found == look->boots + look->boot_count) {
            memcpy(found->boot, boot, BOOT_BYTES);
            look->boot_count++;
        }
        look->boot = found;
    }
    if (found->count > 0 && found->runs[found->count - 1].last + 1 == seq) {
        found->runs[found->count - 1].last = seq;
        return 1;
    }
    Run *runs = grown(found->runs, found->count, &found->room, sizeof(Run));
    if (runs == NULL)
        return 0;
    found->runs = runs;
    found->runs[found->count++] = (Run){seq, seq};
    return 1;
}

/* Notes boot and seq; returns where they begin, NULL where they are not at the line's end. */
static const char *
note_tail(Look *look, const char *line, const char *end)
{
    if (end - line <= TAIL_HEAD || end[-1] != '}')
        return NULL;
    const char *at = end - 2;
    int64_t seq = 0, unit = 1;
    for (int digits = 0; at > line && *at >= '0' && *at <= '9'; at--, unit *= 10) {
        if (++digits > SEQ_DIGITS_MAX)
            return NULL;
        seq += (*at - '0') * unit;
    }
    const char *tail = at + 1 - TAIL_HEAD;
    if (unit == 1 || tail < line || memcmp(tail, LITERAL(BOOT)) != 0 ||
        memcmp(at + 2 - (ptrdiff_t)sizeof(SEQ), LITERAL(SEQ)) != 0)
        return NULL;
    const char *boot = tail + sizeof(BOOT) - 1;
    for (int n = 0; n < BOOT_BYTES; n++)
        if (!((boot[n] >= '0' && boot[n] <= '9') || (boot[n] >= 'a' && boot[n] <= 'f')))
            return NULL;
    return note_number(look, boot, seq) ? tail : NULL;
}

static const char *
find(const char *at, const char *end, const char *part, size_t size)
{
    return memmem(at, (size_t)(end - at), part, size);
}

/* Notes the service, and says in `kind` whether the line knows no session; 0 where it does not say
 * both. As peek() in survey.py. */
static int
note_speaker(Look *look, const char *line, const char *tail, uint32_t *kind)
{
    const char *service = find(line + KEY_AT + KEY_BYTES, tail, LITERAL(SERVICE));
    if (service == NULL)
        return 0;
    service += sizeof(SERVICE) - 1;
    const char *after = memchr(service, '"', (size_t)(tail - service));
    const char *session = after ? find(after, tail, LITERAL(SESSION)) : NULL;
    if (session == NULL)
        return 0;
    session += sizeof(SESSION) - 1;
    size_t size = (size_t)(after - service);
    if (look->service == NULL) {
        look->service = service;
        look->service_size = size;
    }
    if (size != look->service_size || memcmp(service, look->service, size) != 0)
        look->summed = 0;
    if ((size_t)(tail - session) >= sizeof(SERVER) - 1 && memcmp(session, LITERAL(SERVER)) == 0)
        *kind = ABSENT;
    const char *raw = tail - (sizeof(RAW) - 1), *cut = tail - (sizeof(RAW_CUT) - 1);
    if (raw > session && (memcmp(raw, LITERAL(RAW)) == 0 ||
                          (cut > session && memcmp(cut, LITERAL(RAW_CUT)) == 0)))
        look->summed = 0;
    return 1;
}

/* Returns the time of a line that begins as ours do; 0 where it does not, or where another one begins in it. */
static uint64_t
moment_of(Look *look, const char *line, const char *end)
{
    const char *key = line + KEY_AT;
    if (end - line >= 1 << SIZE_BITS || memcmp(line, LITERAL(START)) != 0 || key[KEY_BYTES] != '"')
        return 0;
    for (const char *at = line; (at = memchr(at + 1, '{', (size_t)(end - at - 1))) != NULL;)
        if (end - at >= KEY_AT && memcmp(at, START, KEY_AT) == 0)
            return 0;
    if (look->minute_text == NULL || memcmp(look->minute_text, key, MINUTE_BYTES) != 0) {
        look->minute = minute_of(key);
        look->minute_text = key;
    }
    int64_t micros = micros_of(key + MINUTE_BYTES);
    return look->minute < 0 || micros < 0 ? 0 : (uint64_t)(look->minute * 60000000 + micros);
}

/* Notes a line that is plainly ours: 1; 0 where it is not, -1 where memory is out. */
static int
note_line(Look *look, const char *line, const char *end, const char *tail)
{
    uint64_t moment = tail >= line + KEY_AT + KEY_BYTES ? moment_of(look, line, end) : 0;
    uint32_t kind = 0;
    if (moment == 0 || !note_speaker(look, line, tail, &kind))
        return 0;
    Line *lines = grown(look->lines, look->count, &look->room, sizeof(Line));
    if (lines == NULL)
        return -1;
    look->lines = lines;
    lines[look->count++] = (Line){.key = moment, .at = line, .size = (uint32_t)(end - line), .kind = kind};
    return 1;
}

/* Notes a line that says its boot elsewhere than at its end; 0 where memory is out. */
static int
leave(Look *look, const char *line, const char *end)
{
    if (memmem(line, (size_t)(end - line), "boot", 4) == NULL)
        return 1;
    Line *left = grown(look->left, look->left_count, &look->left_room, sizeof(Line));
    if (left == NULL)
        return 0;
    look->left = left;
    left[look->left_count++] = (Line){.at = line, .size = (uint32_t)(end - line)};
    return 1;
}

/* Notes a line that is not plainly ours; 0 where memory is out. A line of ours at level error goes with those
 * behind it: they may be its traceback. */
static int
note_other(Look *look, const char *line, const char *end)
{
    Stretch *last = look->stretch_count ? &look->stretches[look->stretch_count - 1] : NULL;
    const Line *before = look->count ? &look->lines[look->count - 1] : NULL;
    if (before != NULL && before->at + before->size + 1 == line &&
        find(before->at, line, LITERAL(ERROR)) != NULL) {
        line = before->at;
        look->count--;
    }
    if (last != NULL && last->end == line) {
        last->end = end;
        return 1;
    }
    Stretch *stretches =
        grown(look->stretches, look->stretch_count, &look->stretch_room, sizeof(Stretch));
    if (stretches == NULL)
        return 0;
    look->stretches = stretches;
    stretches[look->stretch_count++] = (Stretch){line, end, look->count};
    return 1;
}

static void
free_look(Look *look)
{
    for (size_t n = 0; n < look->boot_count; n++)
        free(look->boots[n].runs);
    free(look->lines);
    free(look->stretches);
    free(look->left);
}

static PyObject *
runs_of(const Look *look)
{
    PyObject *found = PyDict_New();
    for (size_t n = 0; found != NULL && n < look->boot_count; n++) {
        const Boot *boot = &look->boots[n];
        PyObject *name = PyBytes_FromStringAndSize(boot->boot, BOOT_BYTES);
        PyObject *runs = PyList_New((Py_ssize_t)boot->count);
        for (size_t at = 0; runs != NULL && at < boot->count; at++) {
            PyObject *run = Py_BuildValue("LL", (long long)boot->runs[at].first,
                                          (long long)boot->runs[at].last);
            if (run == NULL || PyList_SetItem(runs, (Py_ssize_t)at, run) < 0)
                Py_CLEAR(runs);
        }
        if (name == NULL || runs == NULL || PyDict_SetItem(found, name, runs) < 0)
            Py_CLEAR(found);
        Py_XDECREF(name);
        Py_XDECREF(runs);
    }
    return found;
}

static PyObject *
left_of(const Look *look)
{
    PyObject *left = PyList_New((Py_ssize_t)look->left_count);
    for (size_t n = 0; left != NULL && n < look->left_count; n++) {
        PyObject *line = PyBytes_FromStringAndSize(look->left[n].at, look->left[n].size);
        if (line == NULL || PyList_SetItem(left, (Py_ssize_t)n, line) < 0)
            Py_CLEAR(left);
    }
    return left;
}

static PyObject *
stretches_of(const Look *look, const char *data)
{
    PyObject *found = PyList_New((Py_ssize_t)look->stretch_count);
    for (size_t n = 0; found != NULL && n < look->stretch_count; n++) {
        const Stretch *each = &look->stretches[n];
        PyObject *stretch = Py_BuildValue("nnn", (Py_ssize_t)(each->begin - data),
                                          (Py_ssize_t)(each->end - data), (Py_ssize_t)each->before);
        if (stretch == NULL || PyList_SetItem(found, (Py_ssize_t)n, stretch) < 0)
            Py_CLEAR(found);
    }
    return found;
}

/* Lines as places in the bytes of their block, one behind the other. */
static PyObject *
places_of(const Line *lines, size_t count, const char *data)
{
    PyObject *places = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(Place)));
    char *to = places == NULL ? NULL : PyBytes_AsString(places);
    for (const Line *line = lines; to != NULL && line < lines + count; line++, to += sizeof(Place)) {
        uint32_t begin = line->kind == OTHER ? line->number : (uint32_t)(line->at - data);
        Place place = {line->key, begin, line->size | line->kind << SIZE_BITS};
        memcpy(to, &place, sizeof(Place));
    }
    return places;
}

static PyObject *
told(const Look *look, const char *data)
{
    PyObject *service = NULL;
    if (look->summed && (service = PyUnicode_DecodeUTF8(look->service, (Py_ssize_t)look->service_size,
                                                        "strict")) == NULL)
        PyErr_Clear(); /* it is no text, or memory is out, which shows below */
    PyObject *places = places_of(look->lines, look->count, data), *runs = runs_of(look);
    PyObject *left = left_of(look), *stretches = stretches_of(look, data), *found = NULL;
    if (places != NULL && runs != NULL && left != NULL && stretches != NULL)
        found = PyTuple_Pack(5, places, service == NULL ? Py_None : service, runs, left, stretches);
    Py_XDECREF(stretches);
    Py_XDECREF(left);
    Py_XDECREF(runs);
    Py_XDECREF(places);
    Py_XDECREF(service);
    return found;
}

PyDoc_STRVAR(survey_doc,
"survey(data, size)\n--\n\n"
"Return the lines of a block that are plainly ours, and what they tell; None where none is.\n\n"
"Args:\n"
"    data: Bytes; valid UTF-8 up to ``size``.\n"
"    size: How many of them are the block's.\n\n"
"Returns:\n"
"    A tuple: the lines' places, of 16 bytes each, as they stand; the service that said all of them, None where\n"
"    they have to be looked at singly; for each process's boot the numbers of all lines, and the lines that\n"
"    name a boot otherwise, as `numbers` returns them; where others stand, as a list of their beginning, their\n"
"    end, and how many of ours stand before them.");

static PyObject *
survey(PyObject *module, PyObject *args)
{
    PyObject *data;
    Py_ssize_t size, whole;
    char *begin;
    if (!PyArg_ParseTuple(args, "O!n:survey", &PyBytes_Type, &data, &size) ||
        PyBytes_AsStringAndSize(data, &begin, &whole) < 0)
        return NULL;
    if (size <= 0 || size > whole || size > INT32_MAX)
        Py_RETURN_NONE;
    Look look = {.summed = 1};
    int noted = 1;
    Py_BEGIN_ALLOW_THREADS
    for (const char *line = begin, *stop = begin + size, *end; noted > 0 && line < stop; line = end + 1) {
        const char *newline = memchr(line, '\n', (size_t)(stop - line));
        end = newline ? newline : stop;
        const char *bare = end > line && end[-1] == '\r' ? end - 1 : end;
        const char *tail = note_tail(&look, line, bare);
        noted = tail != NULL || leave(&look, line, bare) ? 0 : -1;
        if (tail != NULL && bare == newline)
            noted = note_line(&look, line, end, tail);
        if (noted == 0)
            noted = note_other(&look, line, newline ? end + 1 : end) ? 1 : -1;
    }
    Py_END_ALLOW_THREADS
    PyObject *found = noted < 0       ? PyErr_NoMemory()
                      : look.count > 0 ? told(&look, begin)
                                       : Py_NewRef(Py_None);
    free_look(&look);
    return found;
}

/* --- numbers alone */

PyDoc_STRVAR(numbers_doc,
"numbers(data, size)\n--\n\n"
"Return the numbers of lines, by the boot of their process.\n\n"
"Args:\n"
"    data: Bytes.\n"
"    size: How many of them are looked at: whole lines.\n\n"
"Returns:\n"
"    A tuple: for each boot its numbers as runs, as they stand; and the lines that name a boot otherwise\n"
"    than our own form does, or of a further process where there are very many; how many lines there are\n"
"    if all begin and end as our own do, else 0.");

static PyObject *
numbers(PyObject *module, PyObject *args)
{
    Py_buffer data;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "y*n:numbers", &data, &size))
        return NULL;
    Look look = {0};
    const char *line = data.buf, *stop = line + (size < data.len ? size : data.len), *end;
    int noted = 1;
    Py_ssize_t own = 0, count = 0;
    Py_BEGIN_ALLOW_THREADS
    for (; noted && line < stop; line = end + 1) {
        end = memchr(line, '\n', (size_t)(stop - line));
        end = end == NULL ? stop : end;
        const char *bare = end > line && end[-1] == '\r' ? end - 1 : end;
        if (note_tail(&look, line, bare) == NULL)
            noted = leave(&look, line, bare);
        else
            own += memcmp(line, LITERAL(START)) == 0;
        count++;
    }
    Py_END_ALLOW_THREADS
    PyObject *runs = noted ? runs_of(&look) : PyErr_NoMemory();
    PyObject *left = runs == NULL ? NULL : left_of(&look);
    PyObject *found = left == NULL ? NULL : Py_BuildValue("OOn", runs, left, own == count ? own : 0);
    Py_XDECREF(runs);
    Py_XDECREF(left);
    free_look(&look);
    PyBuffer_Release(&data);
    return found;
}

/* --- entries in order */

typedef struct {
    Line *lines;
    size_t count;
} Lines;

static int
is_tuple(PyObject *item)
{
    if (item != NULL && !PyTuple_Check(item))
        PyErr_SetString(PyExc_TypeError, "expected a tuple");
    return item != NULL && PyTuple_Check(item);
}

/* Sets an entry that is not plainly ours, and before how many of ours it does not stand; 0 with an error. */
static int
set_other(Line *line, PyObject *others, size_t number, Py_ssize_t *before)
{
    PyObject *other = PyList_GetItem(others, (Py_ssize_t)number), *bytes;
    Py_ssize_t key_size, size;
    const char *key;
    char *raw;
    if (!is_tuple(other) ||
        !PyArg_ParseTuple(other, "ny#O!", before, &key, &key_size, &PyBytes_Type, &bytes) ||
        PyBytes_AsStringAndSize(bytes, &raw, &size) < 0)
        return 0;
    int64_t minute = key_size == KEY_BYTES ? minute_of(key) : -1;
    int64_t micros = minute < 0 ? -1 : micros_of(key + MINUTE_BYTES);
    if (micros < 0 || size >= 1 << SIZE_BITS) {
        PyErr_SetString(PyExc_ValueError, "invalid time");
        return 0;
    }
    *line = (Line){.key = (uint64_t)(minute * 60000000 + micros),
                   .at = raw,
                   .size = (uint32_t)size,
                   .kind = OTHER,
                   .number = (uint32_t)number};
    return 1;
}

/* Sets the entry that is kept as a place; 0 with an error. */
static int
set_line(Line *line, Place place, PyObject *data, PyObject *others)
{
    uint32_t size = place.size & ((1u << SIZE_BITS) - 1), kind = place.size >> SIZE_BITS;
    Py_ssize_t before;
    if (kind == OTHER)
        return set_other(line, others, place.begin, &before);
    if (size < LINE_MIN || (Py_ssize_t)place.begin + size >= PyBytes_Size(data)) {
        PyErr_SetString(PyExc_ValueError, "places are not in their bytes");
        return 0;
    }
    *line = (Line){.key = place.key, .at = PyBytes_AsString(data) + place.begin, .size = size, .kind = kind};
    return 1;
}

/* Adds the entries of a block, with room for some more; 0 with an error. */
static int
add_block(Lines *all, PyObject *data, PyObject *places, PyObject *others, size_t more)
{
    Py_buffer held;
    if (PyObject_GetBuffer(places, &held, PyBUF_SIMPLE) < 0)
        return 0;
    size_t count = (size_t)held.len / sizeof(Place);
    Line *lines = realloc(all->lines, (all->count + count + more + 1) * sizeof(Line));
    int known = lines != NULL;
    if (known)
        all->lines = lines;
    else
        PyErr_NoMemory();
    for (size_t n = 0; known && n < count; n++) {
        Place place;
        memcpy(&place, (const char *)held.buf + n * sizeof(Place), sizeof(Place));
        known = set_line(&lines[all->count + n], place, data, others);
    }
    all->count += known ? count : 0;
    PyBuffer_Release(&held);
    return known;
}

/* Puts others among the lines of a block, as they stand; 0 with an error. */
static int
insert_others(Lines *all, PyObject *others, size_t count)
{
    size_t ours = all->count, to = ours + count;
    for (size_t number = count; number-- > 0;) {
        Line other;
        Py_ssize_t before = 0;
        if (!set_other(&other, others, number, &before))
            return 0;
        while (ours > 0 && (Py_ssize_t)ours > before)
            all->lines[--to] = all->lines[--ours];
        all->lines[--to] = other;
    }
    all->count += count;
    return 1;
}

/* By how many microseconds a line stands behind a later one, at most. */
static uint64_t
behind_of(const Lines *all)
{
    uint64_t newest = 0, behind = 0;
    for (const Line *line = all->lines; line < all->lines + all->count; line++) {
        if (line->key >= newest)
            newest = line->key;
        else if (newest - line->key > behind)
            behind = newest - line->key;
    }
    return behind;
}

PyDoc_STRVAR(ordered_doc,
"ordered(data, places, others)\n--\n\n"
"Return the lines of a block that are plainly ours, and others, in the order of time.\n\n"
"Args:\n"
"    data: The block's bytes.\n"
"    places: Of its lines, as `survey` returns them.\n"
"    others: Of each other one: how many lines stand before it, its time, its bytes.\n\n"
"Returns:\n"
"    A tuple: the places of all; by how many seconds one stood behind a later one, at most; whether none is a\n"
"    copy of another.\n\n"
"Raises:\n"
"    ValueError: The time of another is none.");

static PyObject *
ordered(PyObject *module, PyObject *args)
{
    PyObject *data, *places, *others, *sorted = NULL, *found = NULL;
    if (!PyArg_ParseTuple(args, "O!OO!:ordered", &PyBytes_Type, &data, &places, &PyList_Type, &others))
        return NULL;
    size_t count = (size_t)PyList_Size(others);
    Lines all = {0};
    int known = add_block(&all, data, places, others, count) && insert_others(&all, others, count);
    uint64_t behind = known ? behind_of(&all) : 0;
    if (known && sort(all.lines, all.count) < 0)
        PyErr_NoMemory();
    else if (known && (sorted = places_of(all.lines, all.count, PyBytes_AsString(data))) != NULL)
        found = Py_BuildValue("OdO", sorted, (double)behind / 1e6,
                              are_distinct(all.lines, all.count) ? Py_True : Py_False);
    Py_XDECREF(sorted);
    free(all.lines);
    return found;
}

/* --- several blocks */

PyDoc_STRVAR(merged_doc,
"merged(several)\n--\n\n"
"Return the entries of several blocks in the order of time, of one moment in the order given; None where there\n"
"may be copies among them.\n\n"
"Args:\n"
"    several: Of each block the number of its stream, its bytes, places in them as `ordered` returns them, and\n"
"        the others that it was given.\n\n"
"Returns:\n"
"    A tuple: the lines that are plainly ours, with their newlines; of each other one before which byte of them\n"
"    it stands, in which block, and as which of its others.");

static int
add_numbered_block(Lines *all, PyObject *block, size_t number)
{
    PyObject *data, *places, *others;
    unsigned int stream;
    size_t first = all->count;
    if (!is_tuple(block) ||
        !PyArg_ParseTuple(block, "IO!OO!", &stream, &PyBytes_Type, &data, &places, &PyList_Type, &others) ||
        !add_block(all, data, places, others, 0))
        return 0;
    for (Line *line = all->lines + first; line < all->lines + all->count; line++) {
        line->stream = stream;
        line->block = (uint32_t)number;
    }
    return 1;
}

/* Joins our lines into `to`; returns where the others stand between them. */
static PyObject *
joined(const Lines *all, char *to)
{
    PyObject *between = PyList_New(0);
    const char *begin = to;
    for (size_t n = 0; between != NULL && n < all->count; n++) {
        const Line *line = &all->lines[n];
        if (line->kind == OTHER) {
            PyObject *where = Py_BuildValue("nII", (Py_ssize_t)(to - begin), line->block, line->number);
            if (where == NULL || PyList_Append(between, where) < 0)
                Py_CLEAR(between);
            Py_XDECREF(where);
            continue;
        }
        /* Each line has its newline behind it where it stands; neighbours are copied at once. */
        size_t size = (size_t)line->size + 1;
        for (; n + 1 < all->count && line[1].kind != OTHER && line[1].at == line->at + line->size + 1; n++)
            size += (size_t)(++line)->size + 1;
        const char *end = line->at + line->size + 1;
        memcpy(to, end - size, size);
        to += size;
    }
    return between;
}

static PyObject *
merged(PyObject *module, PyObject *args)
{
    PyObject *several, *data = NULL, *between = NULL, *found = NULL;
    if (!PyArg_ParseTuple(args, "O!:merged", &PyList_Type, &several))
        return NULL;
    Lines all = {0};
    int known = 1;
    for (Py_ssize_t n = 0; known && n < PyList_Size(several); n++)
        known = add_numbered_block(&all, PyList_GetItem(several, n), (size_t)n);
    Py_ssize_t sum = 0;
    for (size_t n = 0; known && n < all.count; n++)
        sum += all.lines[n].kind == OTHER ? 0 : (Py_ssize_t)all.lines[n].size + 1;
    if (known && sort(all.lines, all.count) < 0)
        PyErr_NoMemory();
    else if (known && !are_distinct(all.lines, all.count))
        found = Py_NewRef(Py_None);
    else if (known && (data = PyBytes_FromStringAndSize(NULL, sum)) != NULL &&
             (between = joined(&all, PyBytes_AsString(data))) != NULL)
        found = PyTuple_Pack(2, data, between);
    Py_XDECREF(between);
    Py_XDECREF(data);
    free(all.lines);
    return found;
}

/* --- skipping what cannot matter */

enum {
    PARTS_MAX = 2,
    PART_MAX = 256,
    READ_BYTES = 256 * 1024, /* 128 KiB to 1 MiB took as long, 64 KiB a sixth more */
    VECTOR_BYTES = 32,
    WINDOW_BYTES = 128, /* compared before a branch */
};

typedef unsigned char Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef unsigned char Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));
typedef uint64_t Words __attribute__((vector_size(VECTOR_BYTES)));

/* Bytes that are looked for, and three of their places: where these bytes stand, the others are compared. */
typedef struct {
    const char *text;
    Py_ssize_t size;
    size_t at[3];
} Part;

/* Returns where the first part begins, in bytes that can be read for PART_MAX + WINDOW_BYTES behind their end; NULL
 * where none does. Three bytes of each part tell whether it may begin within a window. */
static inline __attribute__((always_inline)) const char *
sought(const char *from, const char *end, const Part *parts, size_t count)
{
    Vector wanted[PARTS_MAX][3];
    for (size_t n = 0; n < count; n++)
        for (size_t byte = 0; byte < 3; byte++)
            wanted[n][byte] = (Vector){0} + (unsigned char)parts[n].text[parts[n].at[byte]];
    for (; from < end; from += WINDOW_BYTES) {
        Vector found = {0};
#pragma GCC unroll 4
        for (size_t at = 0; at < WINDOW_BYTES; at += VECTOR_BYTES)
#pragma GCC unroll 3
            for (size_t n = 0; n < count; n++) {
                const char *window = from + at;
                found |= (Vector)(*(const Unaligned *)(window + parts[n].at[0]) == wanted[n][0]) &
                         (Vector)(*(const Unaligned *)(window + parts[n].at[1]) == wanted[n][1]) &
                         (Vector)(*(const Unaligned *)(window + parts[n].at[2]) == wanted[n][2]);
            }
        Words any = (Words)found;
        if (!(any[0] | any[1] | any[2] | any[3]))
            continue;
        for (const char *at = from; at < from + WINDOW_BYTES; at++)
            for (size_t n = 0; n < count; n++)
                if (at + parts[n].size <= end && memcmp(at, parts[n].text, (size_t)parts[n].size) == 0)
                    return at;
    }
    return NULL;
}

/* For each number of parts a loop of its own, whose constants stay in registers. */
static inline __attribute__((always_inline)) const char *
sought_each(const char *from, const char *end, const Part *parts, size_t count)
{
    return count == 1 ? sought(from, end, parts, 1) : sought(from, end, parts, 2);
}

static const char *
first_of(const char *from, const char *end, const Part *parts, size_t count)
{
    return sought_each(from, end, parts, count);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static const char *
first_of_by_avx2(const char *from, const char *end, const Part *parts, size_t count)
{
    return sought_each(from, end, parts, count);
}
#endif

/* Returns the first place that may matter; -1 where memory is out. */
static int64_t
passed_to(int fd, int64_t begin, int64_t end, const Part *parts, size_t count)
{
    const char *(*look)(const char *, const char *, const Part *, size_t) = first_of;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        look = first_of_by_avx2;
#endif
    char *buffer = malloc(READ_BYTES + PART_MAX + WINDOW_BYTES);
    if (buffer == NULL)
        return -1;
    Py_ssize_t overlap = 0;
    for (size_t n = 0; n < count; n++)
        overlap = parts[n].size - 1 > overlap ? parts[n].size - 1 : overlap;
    while (begin < end) {
        size_t asked = end - begin < READ_BYTES ? (size_t)(end - begin) : READ_BYTES;
        ssize_t size = pread(fd, buffer, asked, (off_t)begin);
        if (size <= 0)
            break; /* whoever reads there next is told why */
        memset(buffer + size, 0, PART_MAX + WINDOW_BYTES);
        const char *found = look(buffer, buffer + size, parts, count);
        if (found != NULL || begin + size >= end) {
            begin = found != NULL ? begin + (found - buffer) : end;
            break;
        }
        begin += size > overlap ? size - overlap : size;
    }
    free(buffer);
    return begin;
}

PyDoc_STRVAR(passed_doc,
"passed(fd, begin, end, parts)\n--\n\n"
"Return the first place at which one of the parts begins.\n\n"
"Args:\n"
"    fd: The file's descriptor.\n"
"    begin: Where to begin.\n"
"    end: Where to end.\n"
"    parts: One or two texts of 1 to 256 bytes.\n\n"
"Returns:\n"
"    The place; ``end`` if none begins before that. If the file ends sooner or cannot be read, a place before which\n"
"    none begins.");

static PyObject *
passed(PyObject *module, PyObject *args)
{
    int fd;
    long long begin, end;
    PyObject *texts;
    if (!PyArg_ParseTuple(args, "iLLO!:passed", &fd, &begin, &end, &PyTuple_Type, &texts))
        return NULL;
    Py_ssize_t count = PyTuple_Size(texts);
    Part parts[PARTS_MAX];
    if (count < 1 || count > PARTS_MAX)
        return PyErr_Format(PyExc_ValueError, "expected 1 or %d parts", PARTS_MAX);
    for (Py_ssize_t n = 0; n < count; n++) {
        char *text;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(texts, n), &text, &size) < 0)
            return NULL;
        if (size < 1 || size > PART_MAX)
            return PyErr_Format(PyExc_ValueError, "expected parts of 1 to %d bytes", PART_MAX);
        /* The last bytes of an id tell most: those of one moment begin alike. */
        size_t last = (size_t)size - 1;
        parts[n] = (Part){text, size, {last, size > 8 ? last - 2 : last / 2, size > 8 ? last - 5 : 0}};
    }
    int64_t found;
    Py_BEGIN_ALLOW_THREADS
    found = passed_to(fd, begin, end, parts, (size_t)count);
    Py_END_ALLOW_THREADS
    return found < 0 ? PyErr_NoMemory() : PyLong_FromLongLong(found);
}

/* --- the module */

static PyMethodDef functions[] = {
    {"survey", survey, METH_VARARGS, survey_doc},
    {"ordered", ordered, METH_VARARGS, ordered_doc},
    {"numbers", numbers, METH_VARARGS, numbers_doc},
    {"merged", merged, METH_VARARGS, merged_doc},
    {"passed", passed, METH_VARARGS, passed_doc},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cordboard.logs._native",
    .m_doc = "The inner loop of reading logs.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModule_Create(&definition);
}
