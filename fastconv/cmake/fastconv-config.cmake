# CMake package of the C interface: find_package(fastconv CONFIG) with
# -Dfastconv_DIR=$(python -m fastconv --cmakedir).
#
# Gives the target fastconv::fastconv, which is nothing but the folder of fastconv.h: there is no library to
# link with.  The header includes Python.h, so link with Python::Module or Python::Python as well.
if(NOT TARGET fastconv::fastconv)
  get_filename_component(fastconv_INCLUDE_DIR "${CMAKE_CURRENT_LIST_DIR}/../include" ABSOLUTE)
  add_library(fastconv::fastconv INTERFACE IMPORTED)
  set_target_properties(fastconv::fastconv PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${fastconv_INCLUDE_DIR}")
endif()
