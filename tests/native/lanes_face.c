/* One kernel of ext/digest, named by the two macros, as a function that ctypes can call. */
#include KERNEL_FILE

void face_run(const cd_lanes *lanes);

void face_run(const cd_lanes *lanes) { KERNEL_RUN(lanes); }
