package org.distilltophone.jvm;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.bytedeco.tensorflowlite.global.tensorflowlite;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;
import org.distilltophone.runner.EngineOpener;
import org.distilltophone.runner.Runner;

/** Main class of the runner on a computer: the phone's code with another engine and decoder. */
public final class RunnerMain {
    private RunnerMain() {}

    private static final class Opener implements EngineOpener {
        @Override
        public String format() {
            return "tflite";
        }

        @Override
        public JsonObject packages() {
            return new JsonObject().add("tensorflow-lite", tensorflowlite.TfLiteVersion().getString());
        }

        @Override
        public void load() {
            tensorflowlite.TfLiteVersion();
        }

        @Override
        public Engine open(ByteBuffer model, TensorSpec input, TensorSpec output, int threads, String delegate) throws IOException {
            return new JvmEngine(model, input, output, threads, delegate);
        }
    }

    public static void main(String[] arguments) {
        System.exit(new Runner(new Opener(), new ImageIoDecoder()).run(arguments, System.in, System.out));
    }
}
