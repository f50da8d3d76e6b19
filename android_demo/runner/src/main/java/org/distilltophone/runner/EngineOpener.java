package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.DelegateException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;

/** Opens models of one format with the engine of this machine. */
public interface EngineOpener {
    /** Returns the format, for example "tflite". */
    String format();

    /** Returns name and version of the engine, as in {@code Machine.packages}. */
    JsonObject packages();

    /** Loads the engine itself, so that its memory is not attributed to a model. */
    void load();

    /**
     * Loads a model.
     *
     * @param model content of the file, direct or mapped, in native order; must not change while the engine is open
     * @param delegate "xnnpack", "none" (the plain kernels), "gpu" or "nnapi"
     * @throws IOException the engine refuses the model, or the model does not match the specs
     * @throws DelegateException this machine or this model does not support the delegate
     */
    Engine open(ByteBuffer model, TensorSpec input, TensorSpec output, int threads, String delegate) throws IOException;
}
