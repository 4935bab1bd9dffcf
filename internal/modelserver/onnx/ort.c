//go:build cgo

#include "ort.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The version of the API that the places below were taken from is later than
// the first that has all of them.
enum { api_version = 17 };

// Places in the table of functions.
enum {
  GetErrorMessage = 2,
  CreateEnv = 3,
  DisableTelemetryEvents = 6,
  CreateSession = 7,
  Run = 9,
  CreateSessionOptions = 10,
  SetOptimizedModelFilePath = 11,
  SetSessionLogSeverityLevel = 22,
  SetSessionGraphOptimizationLevel = 23,
  SetIntraOpNumThreads = 24,
  SetInterOpNumThreads = 25,
  CreateTensorAsOrtValue = 48,
  CreateTensorWithDataAsOrtValue = 49,
  GetTensorMutableData = 51,
  FillStringTensor = 52,
  GetStringTensorDataLength = 53,
  GetStringTensorContent = 54,
  GetTensorElementType = 60,
  GetDimensionsCount = 61,
  GetDimensions = 62,
  GetTensorShapeElementCount = 64,
  GetTensorTypeAndShape = 65,
  GetValueType = 67,
  CreateCpuMemoryInfo = 69,
  GetAllocatorWithDefaultOptions = 78,
  GetValue = 80,
  GetValueCount = 81,
  ReleaseStatus = 93,
  ReleaseSession = 95,
  ReleaseValue = 96,
  ReleaseTensorTypeAndShapeInfo = 99,
  ReleaseSessionOptions = 100,
  HasValue = 192,
};

typedef void (*function)(void);
typedef struct {
  const function *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
} OrtApiBase;

static const function *api;
static OrtEnv *env;
static void *memory;    // OrtMemoryInfo of the processor's memory
static void *allocator; // OrtAllocator

// CALL calls the function at a place that gives a status.
#define CALL(place, types, args) ((OrtStatus * (*)types) api[place]) args
#define RELEASE(place, what) ((void (*)(void *))api[place])(what)

// text turns a status into its text.
static char *text(OrtStatus *status) {
  if (!status) return NULL;
  char *copy = strdup(((const char *(*)(OrtStatus *))api[GetErrorMessage])(status));
  RELEASE(ReleaseStatus, status);
  return copy ? copy : strdup("out of memory");
}

void ort_free_text(char *t) { free(t); }

char *ort_open(const char *library, char **version) {
  if (env) return strdup("it is started already");
  void *handle = dlopen(library, RTLD_LAZY);
  if (!handle) return strdup(dlerror());
  OrtApiBase *(*base)(void) = (OrtApiBase * (*)(void)) dlsym(handle, "OrtGetApiBase");
  const function *table = base ? base()->GetApi(api_version) : NULL;
  if (!table) {
    dlclose(handle);
    char why[512];
    snprintf(why, sizeof why, "%.400s is not an ONNX Runtime of version 1.%d or later", library, api_version);
    return strdup(why);
  }
  api = table;
  *version = (char *)base()->GetVersionString();
  char *err = text(CALL(CreateEnv, (int, const char *, OrtEnv **), (4, "slipway", &env)));
  if (!err) err = text(CALL(DisableTelemetryEvents, (OrtEnv *), (env)));
  if (!err) err = text(CALL(CreateCpuMemoryInfo, (int, int, void **), (1, 0, &memory)));
  if (!err) err = text(CALL(GetAllocatorWithDefaultOptions, (void **), (&allocator)));
  return err;
}

char *ort_load(const char *model, int threads, int level, const char *optimized, OrtSession **session) {
  OrtSessionOptions *o = NULL;
  char *err = text(CALL(CreateSessionOptions, (OrtSessionOptions **), (&o)));
  if (!err) err = text(CALL(SetIntraOpNumThreads, (OrtSessionOptions *, int), (o, threads)));
  if (!err) err = text(CALL(SetInterOpNumThreads, (OrtSessionOptions *, int), (o, 1)));
  if (!err) err = text(CALL(SetSessionLogSeverityLevel, (OrtSessionOptions *, int), (o, 4)));
  if (!err && level >= 0) err = text(CALL(SetSessionGraphOptimizationLevel, (OrtSessionOptions *, int), (o, level)));
  if (!err && optimized)
    err = text(CALL(SetOptimizedModelFilePath, (OrtSessionOptions *, const char *), (o, optimized)));
  if (!err)
    err = text(CALL(CreateSession, (OrtEnv *, const char *, OrtSessionOptions *, OrtSession **),
                    (env, model, o, session)));
  if (o) RELEASE(ReleaseSessionOptions, o);
  return err;
}

void ort_unload(OrtSession *session) {
  if (session) RELEASE(ReleaseSession, session);
}

char *ort_tensor(void *data, size_t size, int64_t *shape, size_t rank, int type, OrtValue **value) {
  if (!size) // the library refuses data of no size
    return text(CALL(CreateTensorAsOrtValue, (void *, int64_t *, size_t, int, OrtValue **),
                     (allocator, shape, rank, type, value)));
  return text(CALL(CreateTensorWithDataAsOrtValue, (void *, void *, size_t, int64_t *, size_t, int, OrtValue **),
                   (memory, data, size, shape, rank, type, value)));
}

char *ort_strings(char **strings, size_t n, int64_t *shape, size_t rank, OrtValue **value) {
  enum { string_type = 8 };
  char *err = text(CALL(CreateTensorAsOrtValue, (void *, int64_t *, size_t, int, OrtValue **),
                        (allocator, shape, rank, string_type, value)));
  if (!err && n) err = text(CALL(FillStringTensor, (OrtValue *, char **, size_t), (*value, strings, n)));
  return err;
}

void ort_release(OrtValue *value) {
  if (value) RELEASE(ReleaseValue, value);
}

char *ort_run(OrtSession *session, char **in_names, OrtValue **in, size_t ins, char **out_names, OrtValue **out,
              size_t outs) {
  return text(CALL(Run, (OrtSession *, void *, char **, OrtValue **, size_t, char **, size_t, OrtValue **),
                   (session, NULL, in_names, in, ins, out_names, outs, out)));
}

static char *describe_tensor(OrtValue *value, struct ort_description *d) {
  OrtInfo *info = NULL;
  char *err = text(CALL(GetTensorTypeAndShape, (OrtValue *, OrtInfo **), (value, &info)));
  if (!err) err = text(CALL(GetTensorElementType, (OrtInfo *, int *), (info, &d->type)));
  if (!err) err = text(CALL(GetDimensionsCount, (OrtInfo *, size_t *), (info, &d->rank)));
  if (!err && d->rank > 16) err = strdup("it has more than 16 dimensions");
  if (!err) err = text(CALL(GetDimensions, (OrtInfo *, int64_t *, size_t), (info, d->shape, d->rank)));
  if (!err) err = text(CALL(GetTensorShapeElementCount, (OrtInfo *, size_t *), (info, &d->count)));
  if (!err && d->type == 8)
    err = text(CALL(GetStringTensorDataLength, (OrtValue *, size_t *), (value, &d->text)));
  else if (!err)
    err = text(CALL(GetTensorMutableData, (OrtValue *, void **), (value, &d->data)));
  if (info) RELEASE(ReleaseTensorTypeAndShapeInfo, info);
  return err;
}

char *ort_describe(OrtValue *value, struct ort_description *d) {
  memset(d, 0, sizeof *d);
  if (!value) return NULL;
  char *err = text(CALL(HasValue, (OrtValue *, int *), (value, &d->has)));
  if (err || !d->has) return err;
  err = text(CALL(GetValueType, (OrtValue *, int *), (value, &d->kind)));
  if (!err && d->kind == kind_tensor) return describe_tensor(value, d);
  if (!err && d->kind == kind_sequence)
    err = text(CALL(GetValueCount, (OrtValue *, size_t *), (value, &d->count)));
  return err;
}

char *ort_texts(OrtValue *value, void *buffer, size_t size, size_t *offsets, size_t n) {
  return text(CALL(GetStringTensorContent, (OrtValue *, void *, size_t, size_t *, size_t),
                   (value, buffer, size, offsets, n)));
}

char *ort_element(OrtValue *value, int i, OrtValue **element) {
  return text(CALL(GetValue, (OrtValue *, int, void *, OrtValue **), (value, i, allocator, element)));
}
