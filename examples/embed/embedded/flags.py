"""Flags for a C program with a Python interpreter in it: python flags.py compile, or link."""

import sys
import sysconfig

get = sysconfig.get_config_var
if sys.argv[1] == "compile":
    # The program starts the interpreter that built it, and so finds what is installed there.
    print(f"-I{sysconfig.get_path('include')} '-DPYTHON=\"{sys.executable}\"'")
elif get("Py_ENABLE_SHARED"):
    print(f"-L{get('LIBDIR')} -Wl,-rpath,{get('LIBDIR')} -lpython{get('LDVERSION')}")
else:  # from an archive, all of it: modules that are loaded later will look for its symbols
    archive = f"{get('LIBPL')}/{get('LIBRARY')}"
    print(archive, *filter(None, map(get, ["LINKFORSHARED", "LIBS", "SYSLIBS"])))
