package org.distilltophone.app;

import java.io.IOException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;
import org.distilltophone.tflite.Delegates;
import org.distilltophone.tflite.TfliteEngine;

/** Loads models with TensorFlow Lite, as the app's settings say. */
final class PhoneEngines implements EngineFactory {
    @Override
    public Engine open(Bundle bundle, Settings how) throws IOException {
        String delegate = how.delegate.equals(Settings.PLAIN) ? Delegates.NONE
            : how.delegate.equals(Settings.NNAPI) ? Delegates.NNAPI : Delegates.XNNPACK;
        return new TfliteEngine(bundle.model(), bundle.variant().input, bundle.variant().output, how.threads, delegate);
    }
}
