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

/** TensorFlow Lite of Android, with what is to compute in place of its plain kernels. */
public final class TfliteEngine implements Engine {
    // The interpreter does not copy the model: the buffer has to live as long.
    private final ByteBuffer model;
    private final Interpreter interpreter;
    private final Delegate delegate; // null: the interpreter brings its own

    /**
     * Loads a model.
     *
     * @param model its content, direct or mapped; stays as it is while the engine is open
     * @param input what the bundle says of it; checked, and so is {@code output}
     * @param delegate a name of {@link Delegates}
     * @throws BadFileException the model is not what the bundle says
     * @throws DelegateException this phone, this build or this model does not work with that delegate; says why
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
            if (Delegates.isOurOwn(delegate)) {
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
            throw new BadFileException("the model's tensor " + tensor.name() + " is not as bundle.json says", "export it again");
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
            delegate.close(); // only after the interpreter that uses it
        }
    }
}
