package org.distilltophone.runner;

import com.eclipsesource.json.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.DelegateException;
import org.distilltophone.core.Engine;
import org.distilltophone.core.TensorSpec;

/** The engine that this machine has, for files of one format. */
public interface EngineOpener {
    /** "tflite". */
    String format();

    /** What it is, as {@code Machine.packages} has it: name and version. */
    JsonObject packages();

    /** Loads the engine itself, so that its memory is not taken for a model's. */
    void load();

    /**
     * Loads a model.
     *
     * @param model its content, direct or mapped, in native order; stays as it is while the engine is open
     * @param delegate what computes it: "xnnpack", "none" (the plain kernels), "gpu", "nnapi"
     * @throws IOException the engine refuses it, or it is not what the specs say
     * @throws DelegateException this machine or this model does not work with that delegate
     */
    Engine open(ByteBuffer model, TensorSpec input, TensorSpec output, int threads, String delegate) throws IOException;
}
