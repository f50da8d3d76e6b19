package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;
import org.tensorflow.lite.TensorFlowLite;

/** TensorFlow Lite of Android with XNNPACK. */
final class TfliteEngine implements Engine {
    /** Opens it. */
    static final class Opener implements EngineOpener {
        @Override
        public String format() {
            return "tflite";
        }

        @Override
        public JsonObject packages() {
            return new JsonObject().add("tensorflow-lite", TensorFlowLite.runtimeVersion());
        }

        @Override
        public void load() {
            TensorFlowLite.init();
        }

        @Override
        public Engine open(ByteBuffer model, TensorSpec input, TensorSpec output, int threads) throws IOException {
            try {
                return new TfliteEngine(model, input, output, threads);
            } catch (IllegalArgumentException refused) {
                throw new BadFileException("the engine refuses it: " + refused.getMessage(), "export it again");
            }
        }
    }

    private final Interpreter interpreter;

    private TfliteEngine(ByteBuffer model, TensorSpec input, TensorSpec output, int threads) throws IOException {
        interpreter = new Interpreter(model, new Interpreter.Options().setNumThreads(threads).setUseXNNPACK(true));
        boolean good = false;
        try {
            interpreter.allocateTensors();
            check(interpreter.getInputTensor(0), input);
            check(interpreter.getOutputTensor(0), output);
            good = true;
        } finally {
            if (!good) {
                interpreter.close();
            }
        }
    }

    private static void check(Tensor tensor, TensorSpec spec) throws BadFileException {
        Tensor.QuantizationParams params = tensor.quantizationParams();
        boolean scale = spec.isFloat() || Math.abs(params.getScale() - spec.scale) <= 1e-6 * spec.scale
            && params.getZeroPoint() == spec.zeroPoint;
        if (!scale || !Arrays.equals(tensor.shape(), spec.shape()) || !tensor.dataType().toString().equalsIgnoreCase(spec.dtype)) {
            throw new BadFileException("tensor " + tensor.name() + " is not what the bundle says", "export it again");
        }
    }

    @Override
    public void run(ByteBuffer input, ByteBuffer output) {
        interpreter.run(input, output);
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
