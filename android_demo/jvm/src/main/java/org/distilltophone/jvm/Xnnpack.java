package org.distilltophone.jvm;

import com.sun.jna.Memory;
import com.sun.jna.NativeLibrary;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.tensorflowlite.TfLiteDelegate;
import org.bytedeco.tensorflowlite.global.tensorflowlite;

/**
 * XNNPACK for int8 and float. TensorFlow Lite for Android enables both by default, the Linux library only float, and its Java
 * binding cannot change that. So this class calls the C function directly.
 */
final class Xnnpack implements AutoCloseable {
    // TfLiteXNNPackDelegateOptions of TensorFlow 2.19: int32 num_threads, uint32 flags, and three fields that may be zero.
    private static final int OPTIONS_BYTES = 32;
    private static final int FLAGS_AT = 4;
    private static final int SIGNED_AND_UNSIGNED_INT8 = 1 | 2;
    private static final NativeLibrary LIBRARY = NativeLibrary.getInstance(Loader.load(tensorflowlite.class));

    private final com.sun.jna.Pointer delegate;

    /** @throws IllegalStateException XNNPACK is not available */
    Xnnpack(int threads) {
        try (Memory options = new Memory(OPTIONS_BYTES)) {
            options.clear();
            options.setInt(0, threads);
            options.setInt(FLAGS_AT, SIGNED_AND_UNSIGNED_INT8);
            delegate = LIBRARY.getFunction("TfLiteXNNPackDelegateCreate").invokePointer(new Object[] {options});
        }
        if (delegate == null) {
            throw new IllegalStateException("no XNNPACK");
        }
    }

    TfLiteDelegate delegate() {
        return new TfLiteDelegate(new Pointer() {
            {
                address = com.sun.jna.Pointer.nativeValue(delegate);
            }
        });
    }

    /** Call only after closing the interpreter. */
    @Override
    public void close() {
        LIBRARY.getFunction("TfLiteXNNPackDelegateDelete").invokeVoid(new Object[] {delegate});
    }
}
