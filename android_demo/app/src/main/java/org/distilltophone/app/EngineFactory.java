package org.distilltophone.app;

import java.io.IOException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;

/** Loads the model of a bundle. Tests use one that runs on a computer. */
interface EngineFactory {
    /**
     * @param how see {@link Settings}
     * @throws IOException the model file is missing, damaged, or does not match the bundle
     * @throws RuntimeException the engine does not support these settings on this phone
     */
    Engine open(Bundle bundle, Settings how) throws IOException;
}
