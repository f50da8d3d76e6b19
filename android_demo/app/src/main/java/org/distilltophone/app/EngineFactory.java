package org.distilltophone.app;

import java.io.IOException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Engine;

/** Loads the model of a bundle. Tests bring one that runs on a computer. */
interface EngineFactory {
    /**
     * @param how see {@link Settings}
     * @throws IOException the model file is missing, damaged, or not what the bundle says
     * @throws RuntimeException the engine refuses these settings on this phone
     */
    Engine open(Bundle bundle, Settings how) throws IOException;
}
