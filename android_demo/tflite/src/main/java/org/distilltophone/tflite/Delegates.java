package org.distilltophone.tflite;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import org.distilltophone.core.DelegateException;
import org.distilltophone.core.ModelFile;
import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.nnapi.NnApiDelegate;

/**
 * Delegates that can compute a model instead of TensorFlow Lite's plain kernels. A delegate that is missing, or that
 * silently leaves the whole model to the plain kernels, is an error: its latency would be that of something else.
 */
public final class Delegates {
    /** Vectorized CPU kernels, part of every build. */
    public static final String XNNPACK = "xnnpack";
    /** No delegate: the plain kernels. */
    public static final String NONE = "none";
    /** GPU through OpenCL or OpenGL; needs a library that not every build contains. */
    public static final String GPU = "gpu";
    /** Accelerators that the phone offers through Android's Neural Networks API. */
    public static final String NNAPI = "nnapi";

    private static final String GPU_CLASS = "org.tensorflow.lite.gpu.GpuDelegate";

    private Delegates() {}

    /** Returns whether the delegate is part of TensorFlow Lite itself, so that a refusal is due to the model. */
    static boolean isBuiltIn(String name) {
        return name.equals(XNNPACK) || name.equals(NONE);
    }

    /**
     * Sets a delegate in the options.
     *
     * @return the delegate to close after the interpreter; null if there is none
     * @throws DelegateException the delegate is unknown, not in this build, or not on this phone
     */
    static Delegate choose(String name, Interpreter.Options options) {
        options.setUseXNNPACK(name.equals(XNNPACK));
        if (isBuiltIn(name)) {
            return null;
        }
        Delegate delegate = make(name);
        options.addDelegate(delegate);
        return delegate;
    }

    private static Delegate make(String name) {
        try {
            if (name.equals(NNAPI)) {
                return new NnApiDelegate();
            }
            if (name.equals(GPU)) {
                return (Delegate) Class.forName(GPU_CLASS).getConstructor().newInstance();
            }
        } catch (ClassNotFoundException absent) {
            throw new DelegateException(name + " is not in this build", absent);
        } catch (InvocationTargetException failed) {
            throw new DelegateException(name + " does not start: " + failed.getCause(), failed);
        } catch (ReflectiveOperationException | RuntimeException | LinkageError failed) {
            throw new DelegateException(name + " does not start: " + failed, failed);
        }
        throw new DelegateException("no delegate '" + name + "' is known here", null);
    }

    /** @throws DelegateException the delegate took no operator of the model */
    static void checkTaken(Interpreter interpreter, ByteBuffer model, String name) {
        int operators = ModelFile.operators(model);
        if (!isBuiltIn(name) && operators > 1 && steps(interpreter) == operators) {
            String none = " takes none of the model's " + operators + " operators: the plain kernels would compute all";
            throw new DelegateException(name + none, null);
        }
    }

    /** Returns the length of the execution plan, in which each delegated part is one step; -1 if it is not accessible. */
    private static int steps(Interpreter interpreter) {
        try {
            Field field = interpreter.getClass().getSuperclass().getDeclaredField("wrapper"); // there is no public access
            field.setAccessible(true);
            Object wrapper = field.get(interpreter);
            Method method = wrapper.getClass().getSuperclass().getDeclaredMethod("getExecutionPlanLength");
            method.setAccessible(true);
            return (Integer) method.invoke(wrapper);
        } catch (ReflectiveOperationException | RuntimeException inaccessible) {
            return -1;
        }
    }
}
