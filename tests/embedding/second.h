#ifndef SECOND_H
#define SECOND_H

#include <Python.h>

#ifdef __cplusplus
extern "C" {
#endif

PyObject *second_call(void);
int second_import(void);

#ifdef __cplusplus
}
#endif

#endif
