/* The inner loop of cordboard.logs again, in C: what survey.py does for a block of lines in Python.
 *
 * `survey` looks once at a block all of whose lines are plainly ours, and sorts them as places in memory;
 * whatever is in doubt is left to Python: it then returns None. `numbers` reads the numbers of any lines.
 * Without this module (no compiler where it was installed) survey.py does all of it.
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

#define LITERAL(text) text, sizeof(text) - 1

/* {"timestamp":"2026-11-23T10:11:12.123456Z", */
static const char START[] = "{\"timestamp\":\"2";
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
    TAIL_HEAD = sizeof(BOOT) - 1 + BOOT_BYTES + sizeof(SEQ) - 1,
    BOOTS_MAX = 256, /* a runner's file has the lines of each of its bots */
    SIZE_BITS = 31,
    SAME_MOMENT_MAX = 64, /* lines of one moment that are compared with each other */
    DIGIT_BITS = 11,
    INSERTED_MAX = 32,
};

typedef struct {
    uint64_t key; /* microseconds since 0000-03-01 */
    const char *at;
    uint32_t size; /* without the newline */
    uint32_t absent; /* it knows no session */
} Line;

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
    uint32_t begin;
    uint32_t size; /* its highest bit: it knows no session */
} Place;

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
insert_sorted(Line *lines, Py_ssize_t count)
{
    for (Py_ssize_t n = 1; n < count; n++) {
        Line line = lines[n];
        Py_ssize_t to = n;
        for (; to > 0 && lines[to - 1].key > line.key; to--)
            lines[to] = lines[to - 1];
        lines[to] = line;
    }
}

/* Sorts by the time, and leaves those of one moment as they stand: by digits, from the last one on.
 * Returns -1 where memory is out. */
static int
sort(Line *lines, Py_ssize_t count)
{
    uint64_t least = UINT64_MAX, most = 0;
    int ordered = 1;
    for (Py_ssize_t n = 0; n < count; n++) {
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
    Line *other = malloc((size_t)count * sizeof(Line));
    if (other == NULL)
        return -1;
    Line *from = lines, *to = other;
    for (int shift = 0; (most - least) >> shift; shift += DIGIT_BITS) {
        size_t places[1 << DIGIT_BITS] = {0};
        const uint64_t mask = (1 << DIGIT_BITS) - 1;
        for (Py_ssize_t n = 0; n < count; n++)
            places[(from[n].key - least) >> shift & mask]++;
        size_t sum = 0;
        for (size_t digit = 0; digit <= mask; digit++) {
            size_t here = places[digit];
            places[digit] = sum;
            sum += here;
        }
        for (Py_ssize_t n = 0; n < count; n++)
            to[places[(from[n].key - least) >> shift & mask]++] = from[n];
        Line *swapped = from;
        from = to;
        to = swapped;
    }
    if (from != lines)
        memcpy(lines, from, (size_t)count * sizeof(Line));
    free(other);
    return 0;
}

/* Where boot and seq of a line of ours begin. */
static const char *
tail_of(const Line *line)
{
    const char *at = line->at + line->size - 2;
    while (at > line->at + TAIL_HEAD && *at >= '0' && *at <= '9')
        at--;
    return at + 1 - TAIL_HEAD;
}

static int
is_copy(const Line *one, const Line *other)
{
    const char *tail = tail_of(one), *same = tail_of(other);
    size_t size = (size_t)(one->at + one->size - tail);
    return size == (size_t)(other->at + other->size - same) && memcmp(tail, same, size) == 0;
}

/* Whether no two lines of one moment have the same boot and seq. */
static int
are_distinct(const Line *lines, Py_ssize_t count)
{
    for (Py_ssize_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && lines[end].key == lines[begin].key; end++) {
            if (end - begin >= SAME_MOMENT_MAX)
                return 0;
            for (Py_ssize_t n = begin; n < end; n++)
                if (is_copy(&lines[n], &lines[end]))
                    return 0;
        }
    }
    return 1;
}

/* --- one look at a block */

typedef struct {
    Line *lines;
    Py_ssize_t count, room;
    const char *minute_text; /* of the line before */
    int64_t minute;
    uint64_t newest;
    int64_t behind; /* by how many microseconds a line stands behind a later one, at most */
    const char *service;
    size_t service_size;
    int summed; /* all are the service's, and none has its session from its process */
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
    if (found->count == found->room) {
        size_t room = found->room ? found->room * 2 : 4;
        Run *runs = realloc(found->runs, room * sizeof(Run));
        if (runs == NULL)
            return 0;
        found->runs = runs;
        found->room = room;
    }
    found->runs[found->count++] = (Run){seq, seq};
    return 1;
}

/* Notes boot and seq; returns where they begin, NULL where they are not at the line's end. */
static const char *
note_tail(Look *look, const char *line, const char *end)
{
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

/* Notes the service, and says in `absent` whether the line knows no session; 0 where it does not say
 * both. As peek() in survey.py. */
static int
note_speaker(Look *look, const char *line, const char *tail, uint32_t *absent)
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
    *absent = (size_t)(tail - session) >= sizeof(SERVER) - 1 &&
              memcmp(session, LITERAL(SERVER)) == 0;
    const char *raw = tail - (sizeof(RAW) - 1), *cut = tail - (sizeof(RAW_CUT) - 1);
    if (raw > session && (memcmp(raw, LITERAL(RAW)) == 0 ||
                          (cut > session && memcmp(cut, LITERAL(RAW_CUT)) == 0)))
        look->summed = 0;
    return 1;
}

static int
note_line(Look *look, const char *line, const char *end)
{
    const char *key = line + KEY_AT;
    if (end - line < LINE_MIN || end - line > INT32_MAX || memcmp(line, LITERAL(START)) != 0 ||
        key[KEY_BYTES] != '"' || end[-1] != '}')
        return 0;
    if (look->minute_text == NULL || memcmp(look->minute_text, key, MINUTE_BYTES) != 0) {
        look->minute = minute_of(key);
        look->minute_text = key;
    }
    int64_t micros = micros_of(key + MINUTE_BYTES);
    if (look->minute < 0 || micros < 0)
        return 0;
    uint32_t absent = 0;
    const char *tail = note_tail(look, line, end);
    if (tail == NULL || tail < key + KEY_BYTES || !note_speaker(look, line, tail, &absent))
        return 0;
    if (look->count == look->room) {
        Py_ssize_t room = look->room * 2;
        Line *lines = realloc(look->lines, (size_t)room * sizeof(Line));
        if (lines == NULL)
            return 0;
        look->lines = lines;
        look->room = room;
    }
    uint64_t moment = (uint64_t)(look->minute * 60000000 + micros);
    if (moment >= look->newest)
        look->newest = moment;
    else if ((int64_t)(look->newest - moment) > look->behind)
        look->behind = (int64_t)(look->newest - moment);
    look->lines[look->count++] = (Line){moment, line, (uint32_t)(end - line), absent};
    return 1;
}

static void
free_boots(Look *look)
{
    for (size_t n = 0; n < look->boot_count; n++)
        free(look->boots[n].runs);
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

/* The lines of a block as places in its bytes, one behind the other. */
static PyObject *
places_of(const Look *look, const char *data)
{
    PyObject *places = PyBytes_FromStringAndSize(NULL, look->count * (Py_ssize_t)sizeof(Place));
    char *to = places == NULL ? NULL : PyBytes_AsString(places);
    for (Py_ssize_t n = 0; to != NULL && n < look->count; n++, to += sizeof(Place)) {
        const Line *line = &look->lines[n];
        Place place = {line->key, (uint32_t)(line->at - data), line->size | line->absent << SIZE_BITS};
        memcpy(to, &place, sizeof(Place));
    }
    return places;
}

static PyObject *
told(Look *look, const char *data)
{
    PyObject *service = NULL;
    if (look->summed && (service = PyUnicode_DecodeUTF8(look->service, (Py_ssize_t)look->service_size,
                                                        "strict")) == NULL)
        PyErr_Clear(); /* it is no text, or memory is out, which shows below */
    const char *last = look->lines[look->count - 1].at + KEY_AT;
    PyObject *runs = runs_of(look), *places = NULL, *found = NULL;
    if (runs != NULL && sort(look->lines, look->count) < 0)
        PyErr_NoMemory();
    else if (runs != NULL && (places = places_of(look, data)) != NULL)
        found = Py_BuildValue("OOOy#dO", places, service == NULL ? Py_None : service, runs, last,
                              (Py_ssize_t)KEY_BYTES, (double)look->behind / 1e6,
                              are_distinct(look->lines, look->count) ? Py_True : Py_False);
    Py_XDECREF(places);
    Py_XDECREF(runs);
    Py_XDECREF(service);
    return found;
}

PyDoc_STRVAR(survey_doc,
"survey(data, size)\n--\n\n"
"Return the lines of a block in the order of time, and what they tell; None where one is not plainly ours.\n\n"
"Args:\n"
"    data: Bytes; valid UTF-8 up to ``size``.\n"
"    size: How many of them are the block's: whole lines.\n\n"
"Returns:\n"
"    A tuple: places, of 16 bytes each; the service that said all of them, None where they have to be looked\n"
"    at singly; for each process's boot its numbers as runs, as they stand; the time of the last line as they\n"
"    stand; by how many seconds one stands behind a later one, at most; whether none is a copy of another.");

static PyObject *
survey(PyObject *module, PyObject *args)
{
    PyObject *data;
    Py_ssize_t size, whole;
    char *begin;
    if (!PyArg_ParseTuple(args, "O!n:survey", &PyBytes_Type, &data, &size) ||
        PyBytes_AsStringAndSize(data, &begin, &whole) < 0)
        return NULL;
    if (size <= 0 || size > whole || size > INT32_MAX || begin[size - 1] != '\n')
        Py_RETURN_NONE;
    Look look = {.room = size / 256 + 16, .summed = 1};
    look.lines = malloc((size_t)look.room * sizeof(Line));
    int plain = look.lines != NULL;
    Py_BEGIN_ALLOW_THREADS
    for (const char *line = begin, *stop = begin + size, *end; plain && line < stop; line = end + 1) {
        end = memchr(line, '\n', (size_t)(stop - line));
        plain = note_line(&look, line, end);
    }
    Py_END_ALLOW_THREADS
    PyObject *found = plain ? told(&look, begin) : Py_NewRef(Py_None);
    free_boots(&look);
    free(look.lines);
    return found;
}

/* --- numbers alone */

/* Notes a line that says its boot elsewhere than at its end; 0 where memory is out. */
static int
leave(Look *look, const char *line, const char *end)
{
    if (memmem(line, (size_t)(end - line), "boot", 4) == NULL)
        return 1;
    if (look->count == look->room) {
        Py_ssize_t room = look->room ? look->room * 2 : 16;
        Line *lines = realloc(look->lines, (size_t)room * sizeof(Line));
        if (lines == NULL)
            return 0;
        look->lines = lines;
        look->room = room;
    }
    look->lines[look->count++] = (Line){0, line, (uint32_t)(end - line), 0};
    return 1;
}

static PyObject *
left_of(const Look *look)
{
    PyObject *left = PyList_New(look->count);
    for (Py_ssize_t n = 0; left != NULL && n < look->count; n++) {
        PyObject *line = PyBytes_FromStringAndSize(look->lines[n].at, look->lines[n].size);
        if (line == NULL || PyList_SetItem(left, n, line) < 0)
            Py_CLEAR(left);
    }
    return left;
}

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
        if (bare - line < LINE_MIN || bare[-1] != '}' || note_tail(&look, line, bare) == NULL)
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
    free_boots(&look);
    free(look.lines);
    PyBuffer_Release(&data);
    return found;
}

/* --- several blocks */

PyDoc_STRVAR(merged_doc,
"merged(several)\n--\n\n"
"Return the lines of several blocks as one text in the order of time, of one moment in the order given; None\n"
"where there are copies among them.\n\n"
"Args:\n"
"    several: Of each block its bytes, and places in them, as `survey` returns them.");

/* Resolves a block's places, and notes them in `look`; 0 where that cannot be. */
static int
resolve(Look *look, PyObject *block)
{
    PyObject *data;
    Py_buffer places;
    Py_ssize_t size;
    char *begin;
    if (!PyTuple_Check(block)) {
        PyErr_SetString(PyExc_TypeError, "bytes and places in them are wanted");
        return 0;
    }
    if (!PyArg_ParseTuple(block, "O!y*", &PyBytes_Type, &data, &places))
        return 0;
    Py_ssize_t count = places.len / (Py_ssize_t)sizeof(Place);
    Line *lines = realloc(look->lines, (size_t)(look->count + count + 1) * sizeof(Line));
    int known = lines != NULL && PyBytes_AsStringAndSize(data, &begin, &size) == 0;
    look->lines = lines == NULL ? look->lines : lines;
    if (lines == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t n = 0; known && n < count; n++) {
        Place place;
        memcpy(&place, (const char *)places.buf + n * (Py_ssize_t)sizeof(Place), sizeof(Place));
        uint32_t bytes = place.size & ((1u << SIZE_BITS) - 1);
        known = bytes >= LINE_MIN && (Py_ssize_t)place.begin + bytes < size;
        lines[look->count++] = (Line){place.key, begin + place.begin, bytes, 0};
    }
    if (lines != NULL && !known && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "places are not in their bytes");
    PyBuffer_Release(&places);
    return known;
}

static PyObject *
joined(const Line *lines, Py_ssize_t count)
{
    Py_ssize_t sum = count;
    for (Py_ssize_t n = 0; n < count; n++)
        sum += lines[n].size;
    PyObject *found = PyBytes_FromStringAndSize(NULL, sum);
    char *to = found == NULL ? NULL : PyBytes_AsString(found);
    for (Py_ssize_t n = 0; to != NULL && n < count; n++) {
        /* Each line has its newline behind it where it stands; neighbours are copied at once. */
        const char *at = lines[n].at;
        size_t size = (size_t)lines[n].size + 1;
        while (n + 1 < count && lines[n + 1].at == at + size)
            size += (size_t)lines[++n].size + 1;
        memcpy(to, at, size);
        to += size;
    }
    return found;
}

static PyObject *
merged(PyObject *module, PyObject *args)
{
    PyObject *several, *one = NULL;
    if (!PyArg_ParseTuple(args, "O!:merged", &PyList_Type, &several))
        return NULL;
    Look look = {0};
    int known = 1;
    for (Py_ssize_t n = 0; known && n < PyList_Size(several); n++)
        known = resolve(&look, PyList_GetItem(several, n));
    if (known && sort(look.lines, look.count) < 0)
        PyErr_NoMemory();
    else if (known)
        one = are_distinct(look.lines, look.count) ? joined(look.lines, look.count)
                                                   : Py_NewRef(Py_None);
    free(look.lines);
    return one;
}

/* --- the module */

static PyMethodDef functions[] = {
    {"survey", survey, METH_VARARGS, survey_doc},
    {"numbers", numbers, METH_VARARGS, numbers_doc},
    {"merged", merged, METH_VARARGS, merged_doc},
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
