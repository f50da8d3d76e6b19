package org.distilltophone.decoder;

import android.os.Build;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.UndecodableException;

/** Android's decoder for a program that has no app's Context. */
public final class BitmapDecoder implements ImageFileDecoder {
    @Override
    public String name() {
        return Build.VERSION.SDK_INT >= 28 ? "ImageDecoder" : "BitmapFactory";
    }

    @Override
    public String version() {
        return "Android " + Build.VERSION.RELEASE;
    }

    @Override
    public Decoded decode(byte[] file) throws IOException, UndecodableException {
        return BitmapImage.decode(file, available() / 2);
    }

    /** Memory that is not taken, bytes; where the system does not tell, as much as one can name. */
    private static long available() {
        try (BufferedReader in = new BufferedReader(
                new InputStreamReader(new FileInputStream("/proc/meminfo"), StandardCharsets.US_ASCII))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.startsWith("MemAvailable:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
                }
            }
        } catch (IOException | NumberFormatException untold) {
            return Long.MAX_VALUE;
        }
        return Long.MAX_VALUE;
    }
}
