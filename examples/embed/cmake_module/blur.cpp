// A Python module in C++: blur.gaussian(source, target, radius, threads) blurs a batch of images.
//
// The batch is shared out to C++ threads, of which Python knows nothing: each calls fastconv for its own
// images.  Every channel is blurred by itself, which is a convolution with as many groups as channels.
#include <fastconv.h> // brings Python.h, which has to be the first header

#include <algorithm>
#include <cmath>
#include <thread>
#include <vector>

namespace {

// Float32 arrays (N, H, W, C), one after another in memory; released when it goes out of scope.
class Images {
  public:
    ~Images() {
        if (held_) {
            PyBuffer_Release(&view_);
        }
    }

    // False with a Python exception set if `object` is no such array.
    bool open(PyObject *object, int flags, const char *name) {
        if (PyObject_GetBuffer(object, &view_, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) < 0) {
            return false;
        }
        held_ = true;
        if (view_.ndim != 4 || view_.format == nullptr || view_.format[0] != 'f' || view_.format[1] != '\0') {
            PyErr_Format(PyExc_ValueError, "%s must be float32 of shape (N, H, W, C), got %d axes of format %s", name,
                         view_.ndim, view_.format == nullptr ? "?" : view_.format);
            return false;
        }
        return true;
    }

    int64_t size(int axis) const { return view_.shape[axis]; }
    float *image(int64_t n) const { return static_cast<float *>(view_.buf) + n * size(1) * size(2) * size(3); }

  private:
    Py_buffer view_{};
    bool held_ = false;
};

// The filter, (taps, taps, 1, channels): a bell that sums to one, the same for every channel.
std::vector<float> bell(int64_t radius, int64_t channels) {
    const int64_t taps = 2 * radius + 1;
    std::vector<double> line(static_cast<size_t>(taps));
    double sum = 0;
    for (int64_t i = 0; i < taps; i++) {
        const double distance = static_cast<double>(i - radius) / (0.5 * static_cast<double>(radius) + 0.5);
        sum += line[static_cast<size_t>(i)] = std::exp(-0.5 * distance * distance);
    }
    std::vector<float> filter;
    for (const double down : line) {
        for (const double across : line) {
            filter.insert(filter.end(), static_cast<size_t>(channels), static_cast<float>(down * across / (sum * sum)));
        }
    }
    return filter;
}

// Without the GIL: a share of the batch for each thread, and one thread for each of their calls.
fastconv_status blur(const Images &source, const Images &target, int64_t radius, int64_t threads) {
    fastconv_conv2d layer = fastconv_conv2d_default();
    layer.in_height = source.size(1);
    layer.in_width = source.size(2);
    layer.in_channels = layer.out_channels = layer.groups = source.size(3);
    layer.kernel_height = layer.kernel_width = 2 * radius + 1;
    layer.num_threads = 1;
    const std::vector<float> filter = bell(radius, source.size(3));
    const int64_t images = source.size(0);
    std::vector<fastconv_status> statuses(static_cast<size_t>(threads), FASTCONV_OK);
    std::vector<std::thread> workers;
    for (int64_t k = 0; k < threads; k++) {
        workers.emplace_back([&, k] {
            const int64_t first = images * k / threads;
            fastconv_conv2d share = layer;
            share.batch = images * (k + 1) / threads - first;
            statuses[static_cast<size_t>(k)] =
                fastconv_forward_f32(&share, source.image(first), filter.data(), nullptr, target.image(first));
        });
    }
    for (std::thread &worker : workers) {
        worker.join();
    }
    const auto failed = std::find_if(statuses.begin(), statuses.end(), [](auto s) { return s != FASTCONV_OK; });
    return failed == statuses.end() ? FASTCONV_OK : *failed;
}

PyObject *gaussian(PyObject *, PyObject *arguments) {
    PyObject *from = nullptr, *to = nullptr;
    long radius = 0, threads = 0;
    Images source, target;
    if (!PyArg_ParseTuple(arguments, "OOll:gaussian", &from, &to, &radius, &threads) ||
        !source.open(from, PyBUF_SIMPLE, "source") || !target.open(to, PyBUF_WRITABLE, "target")) {
        return nullptr;
    }
    if (radius < 0 || radius > 1000 || threads < 1 || threads > 64) {
        return PyErr_Format(PyExc_ValueError, "radius must be 0 to 1000 and threads 1 to 64, got %ld and %ld", radius,
                            threads);
    }
    if (target.size(0) != source.size(0) || target.size(1) != source.size(1) - 2 * radius ||
        target.size(2) != source.size(2) - 2 * radius || target.size(3) != source.size(3)) {
        return PyErr_Format(PyExc_ValueError, "target must have 2 * radius rows and columns less, got %zd x %zd",
                            static_cast<Py_ssize_t>(target.size(1)), static_cast<Py_ssize_t>(target.size(2)));
    }
    fastconv_status status = FASTCONV_OK;
    Py_BEGIN_ALLOW_THREADS
    status = blur(source, target, radius, threads);
    Py_END_ALLOW_THREADS
    if (status != FASTCONV_OK) {
        return PyErr_Format(PyExc_ValueError, "%s, got status %d", fastconv_status_string(status),
                            static_cast<int>(status));
    }
    Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"gaussian", gaussian, METH_VARARGS, "gaussian(source, target, radius, threads): blur a batch of images."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "blur", "Blurred images.", -1, functions, nullptr, nullptr, nullptr, nullptr,
};

} // namespace

PyMODINIT_FUNC PyInit_blur() {
    if (fastconv_import() < 0) {
        return nullptr;
    }
    return PyModule_Create(&definition);
}
