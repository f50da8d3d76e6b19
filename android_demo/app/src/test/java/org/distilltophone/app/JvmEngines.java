package org.distilltophone.app;

import java.io.IOException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;
import org.distilltophone.jvm.JvmEngine;

/** TensorFlow Lite built for computers, in place of the phone's. */
final class JvmEngines implements EngineFactory {
    @Override
    public Engine open(Bundle bundle, Settings how) throws IOException {
        return new JvmEngine(bundle.model(), bundle.variant().input, bundle.variant().output, how.threads);
    }
}
