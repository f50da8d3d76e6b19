package org.distilltophone.app;

import java.io.IOException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;
import org.distilltophone.jvm.JvmEngine;

/** Loads models with TensorFlow Lite for Linux instead of Android. */
final class JvmEngines implements EngineFactory {
    @Override
    public Engine open(Bundle bundle, Settings how) throws IOException {
        return new JvmEngine(bundle.model(), bundle.variant().input, bundle.variant().output, how.threads);
    }
}
