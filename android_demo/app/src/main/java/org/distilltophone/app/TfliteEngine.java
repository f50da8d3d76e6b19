package org.distilltophone.app;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/** TensorFlow Lite on the phone. */
final class TfliteEngine implements Engine {
    /** Opens it by the settings of the app. */
    static final class Factory implements EngineFactory {
        @Override
        public Engine open(Bundle bundle, Settings how) throws IOException {
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(how.threads);
            options.setUseXNNPACK(how.delegate.equals(Settings.XNNPACK));
            options.setUseNNAPI(how.delegate.equals(Settings.NNAPI));
            return new TfliteEngine(bundle, options);
        }
    }

    // The interpreter does not copy the model: the buffer has to live as long.
    private final ByteBuffer model;
    private final Interpreter interpreter;

    private TfliteEngine(Bundle bundle, Interpreter.Options options) throws IOException {
        model = bundle.model();
        interpreter = new Interpreter(model, options);
        try {
            check(interpreter.getInputTensor(0), bundle.variant().input);
            check(interpreter.getOutputTensor(0), bundle.variant().output);
        } catch (IOException differs) {
            interpreter.close();
            throw differs;
        }
    }

    private static void check(Tensor tensor, TensorSpec said) throws BadFileException {
        Tensor.QuantizationParams params = tensor.quantizationParams();
        boolean same = Arrays.equals(tensor.shape(), said.shape()) && tensor.dataType().toString().equalsIgnoreCase(said.dtype)
            && (said.isFloat() || params.getZeroPoint() == said.zeroPoint && params.getScale() == (float) said.scale);
        if (!same) {
            throw new BadFileException("the model's tensor " + tensor.name() + " is not as bundle.json says", "export it again");
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
