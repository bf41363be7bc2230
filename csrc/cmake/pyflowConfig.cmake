# find_package(pyflow CONFIG): pyflow::pyflow (shared) and pyflow::pyflow_static, wherever the package lies.
get_filename_component(_pyflow_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_pyflow_include "${_pyflow_root}/include")
if(NOT EXISTS "${_pyflow_include}")
  set(_pyflow_include "${_pyflow_root}/../csrc/include")
endif()

include(CMakeFindDependencyMacro)
find_dependency(Threads)

if(NOT TARGET pyflow::pyflow)
  add_library(pyflow::pyflow SHARED IMPORTED)
  set_target_properties(pyflow::pyflow PROPERTIES
    IMPORTED_LOCATION "${_pyflow_root}/lib/libpyflow.so.0"
    IMPORTED_SONAME "libpyflow.so.0"
    INTERFACE_INCLUDE_DIRECTORIES "${_pyflow_include}")

  add_library(pyflow::pyflow_static STATIC IMPORTED)
  set_target_properties(pyflow::pyflow_static PROPERTIES
    IMPORTED_LOCATION "${_pyflow_root}/lib/libpyflow.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES "CXX"
    INTERFACE_INCLUDE_DIRECTORIES "${_pyflow_include}"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
endif()

unset(_pyflow_root)
unset(_pyflow_include)
set(pyflow_FOUND TRUE)
