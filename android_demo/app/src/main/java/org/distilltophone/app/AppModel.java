package org.distilltophone.app;

import android.content.Context;
import java.io.Closeable;
import java.io.IOException;
import org.distilltophone.core.BadFileException;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Embedder;

/** The app's bundle with its model loaded. Opening checks the hashes of the files. */
final class AppModel implements Closeable {
    /** The engine does not support the settings. */
    static final class EngineException extends IOException {
        private static final long serialVersionUID = 1;

        EngineException(RuntimeException why) {
            super(String.valueOf(why.getMessage()), why);
        }
    }

    final Bundle bundle;
    final Embedder embedder;
    private final Settings settings;

    private AppModel(Bundle bundle, Embedder embedder, Settings settings) {
        this.bundle = bundle;
        this.embedder = embedder;
        this.settings = settings;
    }

    static Bundle bundle(Context context) throws IOException {
        return Bundle.open(new AssetSource(context.getAssets(), "bundle", context.getString(R.string.cure_build)), null);
    }

    /**
     * @throws BadFileException the app contains no bundle, or a damaged one
     * @throws EngineException the model does not run with these settings
     */
    static AppModel open(Context context, EngineFactory engines, Settings settings) throws IOException {
        Bundle bundle = bundle(context);
        try {
            return new AppModel(bundle, new Embedder(bundle, engines.open(bundle, settings)), settings);
        } catch (RuntimeException refused) {
            throw new EngineException(refused);
        } catch (LinkageError noLibrary) { // the APK is for another processor
            throw new EngineException(new IllegalStateException(noLibrary.getMessage(), noLibrary));
        }
    }

    boolean serves(Settings others) {
        return settings.sameEngine(others);
    }

    /** Describes a problem with a model or gallery to the user in one line. */
    static String problem(Context context, Exception error) {
        if (error instanceof BadFileException) {
            return context.getString(R.string.problem_model, error.getMessage(), ((BadFileException) error).cure);
        }
        if (error instanceof EngineException) {
            return context.getString(R.string.problem_engine, error.getMessage());
        }
        return context.getString(R.string.problem_unreadable, String.valueOf(error.getMessage()));
    }

    @Override
    public void close() {
        embedder.close();
    }
}
