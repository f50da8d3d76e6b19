package org.distilltophone.tflite;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.DelegateException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;
import org.tensorflow.lite.Delegate;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/** TensorFlow Lite for Android, with a choice of delegate. */
public final class TfliteEngine implements Engine {
    // The interpreter does not copy the model, so the buffer has to live as long.
    private final ByteBuffer model;
    private final Interpreter interpreter;
    private final Delegate delegate; // null: built into the interpreter

    /**
     * Loads a model.
     *
     * @param model content of the file, direct or mapped; must not change while the engine is open
     * @param input description of the input tensor in the bundle; checked, like {@code output}
     * @param delegate one of the names in {@link Delegates}
     * @throws BadFileException the model does not match the bundle
     * @throws DelegateException this phone, build or model does not support the delegate; the message says why
     * @throws IllegalArgumentException the engine refuses the file
     */
    public TfliteEngine(ByteBuffer model, TensorSpec input, TensorSpec output, int threads, String delegate) throws IOException {
        this.model = model;
        Interpreter.Options options = new Interpreter.Options();
        options.setNumThreads(threads);
        this.delegate = Delegates.choose(delegate, options);
        Interpreter opened = null;
        boolean good = false;
        try {
            opened = open(options, delegate);
            check(opened.getInputTensor(0), input);
            check(opened.getOutputTensor(0), output);
            Delegates.checkTaken(opened, model, delegate);
            good = true;
        } finally {
            interpreter = opened;
            if (!good) {
                close();
            }
        }
    }

    private Interpreter open(Interpreter.Options options, String delegate) {
        try {
            Interpreter opened = new Interpreter(model, options);
            boolean good = false;
            try {
                opened.allocateTensors();
                good = true;
            } finally {
                if (!good) {
                    opened.close();
                }
            }
            return opened;
        } catch (IllegalArgumentException | IllegalStateException refused) {
            if (Delegates.isBuiltIn(delegate)) {
                throw refused;
            }
            throw new DelegateException(delegate + " refuses the model: " + refused.getMessage(), refused);
        }
    }

    private static void check(Tensor tensor, TensorSpec spec) throws BadFileException {
        Tensor.QuantizationParams params = tensor.quantizationParams();
        boolean scale = spec.isFloat() || Math.abs(params.getScale() - spec.scale) <= 1e-6 * spec.scale
            && params.getZeroPoint() == spec.zeroPoint;
        if (!scale || !Arrays.equals(tensor.shape(), spec.shape()) || !tensor.dataType().toString().equalsIgnoreCase(spec.dtype)) {
            throw new BadFileException("the model's tensor " + tensor.name() + " does not match bundle.json", "export it again");
        }
    }

    @Override
    public void run(ByteBuffer input, ByteBuffer output) {
        interpreter.run(input, output);
    }

    @Override
    public void close() {
        if (interpreter != null) {
            interpreter.close();
        }
        if (delegate != null) {
            delegate.close(); // only after the interpreter, which uses it
        }
    }
}
