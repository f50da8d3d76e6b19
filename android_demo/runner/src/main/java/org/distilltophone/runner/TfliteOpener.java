package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;
import org.distilltophone.tflite.TfliteEngine;
import org.tensorflow.lite.TensorFlowLite;

/** Opens models with TensorFlow Lite for Android. */
final class TfliteOpener implements EngineOpener {
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
    public Engine open(ByteBuffer model, TensorSpec input, TensorSpec output, int threads, String delegate) throws IOException {
        try {
            return new TfliteEngine(model, input, output, threads, delegate);
        } catch (IllegalArgumentException refused) {
            throw new BadFileException("the engine refuses the model: " + refused.getMessage(), "export it again");
        }
    }
}
