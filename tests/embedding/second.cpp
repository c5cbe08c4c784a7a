// The other source file: C++, and with a table of its own, which is not there before it imports.
#include "fastconv.h"

#include "second.h"

PyObject *second_call(void) {
    fastconv_conv2d layer = fastconv_conv2d_default();
    int64_t shape[4];
    layer.kernel_height = layer.kernel_width = 3;
    const fastconv_status status = fastconv_output_shape(&layer, shape);
    return Py_BuildValue("(isz)", static_cast<int>(status), fastconv_status_string(status), fastconv_version());
}

int second_import(void) { return fastconv_import(); }
