// The part of ONNX Runtime's C API that package onnx calls.
//
// The API is a table of functions that only ever grows at its end: a function's
// place in it never changes (onnxruntime_c_api.h says so). So no header of the
// library is needed: the places and the types of what is called are below.
#ifndef SLIPWAY_ORT_H
#define SLIPWAY_ORT_H

#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtInfo OrtInfo; // OrtTensorTypeAndShapeInfo

// Kinds of values (ONNXType).
enum { kind_tensor = 1, kind_sequence = 2, kind_map = 3 };

// Every function below returns an error's text, which ort_free_text frees, or NULL.
char *ort_open(const char *library, char **version);
void ort_free_text(char *text);

char *ort_load(const char *model, int threads, int level, const char *optimized, OrtSession **session);
void ort_unload(OrtSession *session);

// ort_tensor makes an input of elements that stay where they are, or an empty
// tensor of the library's own if there are none; ort_strings one of strings.
char *ort_tensor(void *data, size_t size, int64_t *shape, size_t rank, int type, OrtValue **value);
char *ort_strings(char **strings, size_t n, int64_t *shape, size_t rank, OrtValue **value);
void ort_release(OrtValue *value);

char *ort_run(OrtSession *session, char **in_names, OrtValue **in, size_t ins, char **out_names, OrtValue **out,
              size_t outs);

// ort_describe says what a value is: of a tensor, its type, its rank, up to 16
// sizes and where its elements lie, of strings their length together; of a
// sequence, the number of its values.
struct ort_description {
  int kind, type, has;
  size_t rank, count, text;
  int64_t shape[16];
  void *data;
};
char *ort_describe(OrtValue *value, struct ort_description *d);
char *ort_texts(OrtValue *value, void *buffer, size_t size, size_t *offsets, size_t n);
char *ort_element(OrtValue *value, int i, OrtValue **element);

#endif
