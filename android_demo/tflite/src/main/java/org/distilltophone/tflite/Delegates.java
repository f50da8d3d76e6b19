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
 * What may compute a model in place of TensorFlow Lite's plain kernels. One that is not there, or that leaves the whole model
 * to the plain kernels without a word, is an error: its times would be of something else.
 */
public final class Delegates {
    /** Vectorised kernels for the processor, in every build. */
    public static final String XNNPACK = "xnnpack";
    /** The plain kernels. */
    public static final String NONE = "none";
    /** The graphics processor, by OpenCL or OpenGL; in a library of its own that not every build carries. */
    public static final String GPU = "gpu";
    /** Whatever accelerators the phone's maker offers through Android's Neural Networks API. */
    public static final String NNAPI = "nnapi";

    private static final String GPU_CLASS = "org.tensorflow.lite.gpu.GpuDelegate";

    private Delegates() {}

    /** Whether it is part of TensorFlow Lite itself, so that a refusal is the model's fault. */
    static boolean isOurOwn(String name) {
        return name.equals(XNNPACK) || name.equals(NONE);
    }

    /**
     * Sets it in the options.
     *
     * @return what has to be closed after the interpreter; null: nothing
     * @throws DelegateException not known, not in this build, or not on this phone
     */
    static Delegate choose(String name, Interpreter.Options options) {
        options.setUseXNNPACK(name.equals(XNNPACK));
        if (isOurOwn(name)) {
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
        if (!isOurOwn(name) && operators > 1 && steps(interpreter) == operators) {
            String none = " takes none of the model's " + operators + " operators: the plain kernels would compute all";
            throw new DelegateException(name + none, null);
        }
    }

    /** How many steps an inference has; operators that a delegate took are one. -1: TensorFlow Lite does not tell. */
    private static int steps(Interpreter interpreter) {
        try {
            Field field = interpreter.getClass().getSuperclass().getDeclaredField("wrapper"); // it has no public way
            field.setAccessible(true);
            Object wrapper = field.get(interpreter);
            Method method = wrapper.getClass().getSuperclass().getDeclaredMethod("getExecutionPlanLength");
            method.setAccessible(true);
            return (Integer) method.invoke(wrapper);
        } catch (ReflectiveOperationException | RuntimeException another) {
            return -1;
        }
    }
}
